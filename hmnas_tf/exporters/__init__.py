"""The deployable artifacts: `.keras`, SavedModel, ONNX (floor 3)."""
