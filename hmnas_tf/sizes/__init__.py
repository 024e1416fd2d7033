"""One supernet, many networks."""
