"""The report of a run: one HTML file that needs nothing else, put together from facts, without TensorFlow."""
