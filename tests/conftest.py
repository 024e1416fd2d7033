"""Loaded before every test: importing the package sets what TensorFlow reads when it is loaded. And images for runs."""

from __future__ import annotations

import numpy as np
import pytest

import hmnas_tf  # noqa: F401


@pytest.fixture(scope="session")
def noisy_patterns() -> dict[str, np.ndarray]:
    """Four patterns under noise, 8 x 8 x 1, that a network learns in a few steps: the arrays of an NPZ file."""
    drawn = np.random.default_rng(0).uniform(0, 255, (4, 8, 8, 1))
    arrays = {}
    for seed, (part, count) in enumerate({"train": 160, "test": 40}.items(), 1):
        labels = np.arange(count) % 4
        noise = np.random.default_rng(seed).normal(50, 40, (count, 8, 8, 1))
        arrays[f"x_{part}"] = np.clip(0.6 * drawn[labels] + noise, 0, 255).astype(np.uint8)
        arrays[f"y_{part}"] = labels
    return arrays
