"""The smallest supernet that shows the point, a small stock network, and values of variables as plain arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.networks.supernet import Supernet
from hmnas_tf.space.topology import Topology
from hmnas_tf.stages.supernet_training import SupernetTraining

OPERATIONS = ("sep_conv_3x3", "max_pool_3x3", "identity")
CLASSES = 4


@pytest.fixture(scope="session")
def make_supernet() -> Callable[..., Supernet]:
    """Returns a built supernet of one cell or more for images of 8 x 8 x 1; the same values for the same seed."""

    def make(
        seed: int = 0, operations: tuple[str, ...] = OPERATIONS, cells: int = 1, nodes: int = 2, **kwargs
    ) -> Supernet:
        keras.utils.set_random_seed(seed)
        topology = Topology(initial_channels=4, cells=cells, nodes=nodes, operations=operations, stem="cifar")
        supernet = Supernet(topology, CLASSES, **kwargs)
        supernet.build((None, 8, 8, 1))
        return supernet

    return make


@pytest.fixture(scope="session")
def make_training() -> Callable[..., SupernetTraining]:
    """Returns supernet training in which every term of a step is large enough to be seen."""

    def make(supernet: Supernet, decisions: Sequence[bool] = (True,), **changes) -> SupernetTraining:
        settings = dict(
            weight_optimizer=keras.optimizers.SGD(0.05, momentum=0.9),
            architecture_optimizer=keras.optimizers.Adam(0.03, beta_1=0.5, beta_2=0.999),
            decisions=np.array(decisions),
            weight_decay=0.05,
            gradient_clip=0.2,
            architecture_decay=0.5,
        )
        return SupernetTraining(supernet, **(settings | changes))

    return make


@pytest.fixture(scope="session")
def make_stock_network() -> Callable[..., keras.Model]:
    """Returns a small network of stock layers in which some kernel weights are exactly 0, as derivation writes them."""

    def make(seed: int = 0) -> keras.Model:
        keras.utils.set_random_seed(seed)
        image = keras.Input((8, 8, 1))
        x = keras.layers.Conv2D(4, 3, use_bias=False, name="convolution")(image)
        x = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
        x = keras.layers.DepthwiseConv2D(3, use_bias=False, name="depthwise")(keras.layers.ReLU()(x))
        x = keras.layers.Rescaling(0.3, name="mixing_weight")(x)
        network = keras.Model(
            image, keras.layers.Dense(CLASSES)(keras.layers.GlobalAveragePooling2D()(x)), name="stock"
        )
        for name in ("convolution", "depthwise"):
            kernel = network.get_layer(name).kernel
            value = kernel.numpy()
            value.reshape(-1)[::3] = 0.0
            kernel.assign(value)
        return network

    return make


@pytest.fixture(scope="session")
def make_batch() -> Callable[..., tuple[tf.Tensor, tf.Tensor]]:
    """Returns (images, labels) in which a label shows as brightness of a part of the image."""

    def make(seed: int = 0, size: int = 8) -> tuple[tf.Tensor, tf.Tensor]:
        random = np.random.default_rng(seed)
        labels = random.integers(0, CLASSES, size).astype(np.int32)
        images = random.standard_normal((size, 8, 8, 1), np.float32)
        for image, label in zip(images, labels, strict=True):
            image[2 * label : 2 * label + 2] += 2.0
        return tf.constant(images), tf.constant(labels)

    return make


@pytest.fixture(scope="session")
def values() -> Callable[[Sequence[keras.Variable]], list[np.ndarray]]:
    """Returns copies of the values of variables."""
    return lambda variables: [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


@pytest.fixture(scope="session")
def bitwise_equal() -> Callable[[Sequence[np.ndarray], Sequence[np.ndarray]], bool]:
    """Returns whether two lists of arrays have the same bits."""

    def equal(left: Sequence[np.ndarray], right: Sequence[np.ndarray]) -> bool:
        assert len(left) == len(right) > 0
        return all(a.tobytes() == b.tobytes() for a, b in zip(left, right, strict=True))

    return equal
