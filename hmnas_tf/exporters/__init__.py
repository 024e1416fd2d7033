"""The deployable artifacts: `.keras`, SavedModel, ONNX, LiteRT."""
