"""Networks: the supernet, and what networks cost."""
