"""Pictures of an architecture and of how it was found, as Matplotlib figures; nothing here loads TensorFlow."""
