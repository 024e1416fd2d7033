"""Random values for layers, and references of a few lines that do not use the project's code."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest

from hmnas_tf.layers.batch_norm import BatchNorm
from hmnas_tf.settings.paper import MASK_INITIAL


@pytest.fixture(autouse=True)
def seed() -> None:
    """Initial values and dropout are the same in every run of a test, whatever ran before it."""
    keras.utils.set_random_seed(0)


@pytest.fixture
def images() -> Callable[..., np.ndarray]:
    """Returns normal images of a shape."""

    def make(*shape: int, seed: int = 1) -> np.ndarray:
        return np.random.default_rng(seed).standard_normal(shape, np.float32)

    return make


@pytest.fixture
def randomise() -> Callable[..., keras.layers.Layer]:
    """Gives every variable of a layer a random value: statistics, scales, kernels, and masks of a density."""

    def apply(layer: keras.layers.Layer, seed: int = 0, density: float = 0.7) -> keras.layers.Layer:
        random = np.random.default_rng(seed)
        for variable in layer.variables:
            value = random.standard_normal(variable.shape)
            if "variance" in variable.name or variable.name == "gamma":
                value = random.uniform(0.5, 1.5, variable.shape)
            elif variable.name.endswith("mask"):
                value = np.where(random.random(variable.shape) < density, MASK_INITIAL, -MASK_INITIAL)
            variable.assign(value)
        for norm in layer._flatten_layers():
            if isinstance(norm, BatchNorm):  # its mean may share a variable with its variance
                norm.moving_mean.assign(random.standard_normal(norm.moving_mean.shape))
        return layer

    return apply


@pytest.fixture
def batch_norm() -> Callable[..., np.ndarray]:
    """Batch normalization by given statistics, epsilon 1e-5."""

    def apply(x, mean, variance, gamma=1.0, beta=0.0) -> np.ndarray:
        return (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta

    return apply
