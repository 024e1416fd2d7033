"""Small supernets in random states: any architecture, masks of a density, any batch statistics."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from hmnas_tf.layers.batch_norm import BatchNorm
from hmnas_tf.layers.masked_kernel import MaskedKernel
from hmnas_tf.networks.supernet import Supernet
from hmnas_tf.settings.paper import PAPER_OPERATIONS
from hmnas_tf.space.topology import Topology


@pytest.fixture(scope="session")
def make_supernet() -> Callable[..., Supernet]:
    """Returns a built supernet with 5 classes and, unless told otherwise, C = 4."""

    def make(
        cells: int = 3,
        nodes: int = 2,
        operations: tuple[str, ...] = PAPER_OPERATIONS,
        size: int = 8,
        stem: str = "cifar",
        partial_channels: int = 1,
        reduce_in: str = "operations",
        channels: int = 4,
        **kwargs,
    ) -> Supernet:
        topology = Topology(
            initial_channels=channels,
            cells=cells,
            nodes=nodes,
            operations=operations,
            stem=stem,
            partial_channels=partial_channels,
            reduce_in=reduce_in,
        )
        supernet = Supernet(topology, 5, **kwargs)
        supernet.build((None, size, size, 3))
        return supernet

    return make


@pytest.fixture(scope="session")
def randomise() -> Callable[..., Supernet]:
    """Gives every variable of a supernet a random value; `density` is the share of masks that are 1."""

    def apply(
        supernet: Supernet, seed: int = 0, density: float = 0.5, of_weights: float | None = None
    ) -> Supernet:
        random = np.random.default_rng(seed)
        architecture = {id(variable) for variable in supernet.architecture_masks}
        for variable in supernet.variables:
            value = random.standard_normal(variable.shape)
            if "variance" in variable.name or variable.name == "gamma":
                value = random.uniform(0.5, 1.5, variable.shape)
            elif variable.name.endswith("mask"):
                share = density if id(variable) in architecture or of_weights is None else of_weights
                value = np.where(random.random(variable.shape) < share, 1e-2, -1e-2)
            elif variable.name == "kernel":
                value /= np.sqrt(np.prod(variable.shape[-2:]))
            variable.assign(value)
        for layer in supernet._flatten_layers():  # several of which may share a variable
            if isinstance(layer, MaskedKernel):
                shape = layer.kernel.shape
                layer.kernel.assign(random.standard_normal(shape) / np.sqrt(np.prod(shape[-2:])))
            elif isinstance(layer, BatchNorm):
                layer.moving_mean.assign(random.standard_normal(layer.moving_mean.shape))
        return supernet

    return apply


@pytest.fixture(scope="session")
def images() -> Callable[[int], np.ndarray]:
    return lambda size: np.random.default_rng(7).standard_normal((3, size, size, 3), np.float32)


@pytest.fixture(scope="session")
def difference() -> Callable[..., float]:
    """Returns the largest difference of two arrays relative to the largest value."""

    def apply(value, reference) -> float:
        value, reference = np.asarray(value), np.asarray(reference)
        assert value.shape == reference.shape
        assert np.abs(reference).max() > 1e-3
        return float(np.abs(value - reference).max() / np.abs(reference).max())

    return apply
