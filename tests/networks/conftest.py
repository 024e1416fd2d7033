"""Small supernets; a fresh one is built for each test that changes it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from hmnas_tf.networks.supernet import Supernet
from hmnas_tf.space.topology import Topology

OPERATIONS = ("sep_conv_3x3", "dil_conv_5x5", "avg_pool_3x3", "identity")


@pytest.fixture(scope="session")
def make_supernet() -> Callable[..., Supernet]:
    """Returns a built supernet with C = 4 and 5 classes."""

    def make(
        cells: int = 3,
        nodes: int = 2,
        operations: tuple[str, ...] = OPERATIONS,
        stem: str = "cifar",
        size: int = 8,
        channels: int = 4,
        classes: int = 5,
        partial_channels: int = 1,
        reduce_in: str = "operations",
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
        supernet = Supernet(topology, classes, **kwargs)
        supernet.build((None, size, size, 3))
        return supernet

    return make


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((4, 8, 8, 3), np.float32)
