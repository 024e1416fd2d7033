"""Loaded before every test: importing the package sets what TensorFlow reads when it is loaded."""

import hmnas_tf  # noqa: F401
