"""Gradients of operations' weights without what the operations are mixed with."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from hmnas_tf.layers.masked_kernel import MaskedKernel
from hmnas_tf.space.topology import edges_from
from hmnas_tf.stages.operation_gradients import alone, mixed
from hmnas_tf.stages.stage import gradients

OPERATIONS = ("sep_conv_3x3", "max_pool_3x3", "dil_conv_5x5", "identity")


@pytest.fixture(scope="module")
def supernet(make_supernet):
    """A supernet with a normal and two reduction cells whose importances differ."""
    made, random = make_supernet(operations=OPERATIONS, cells=3), np.random.default_rng(0)
    for parameter in made.architecture_parameters:
        parameter.assign(random.normal(size=parameter.shape))
    return made


def test_each_convolution_learns_as_if_its_operation_stood_alone(supernet, make_batch):
    images, labels = make_batch(0)
    weights = supernet.network_weights

    def loss() -> tuple:
        logits = supernet(images, training=True)
        return keras.ops.mean(keras.losses.sparse_categorical_crossentropy(labels, logits, True)), None

    _, found, _ = gradients(loss, weights)
    scaled = dict(zip(map(id, weights), alone(supernet, found), strict=True))
    before = dict(zip(map(id, weights), mixed(supernet, found), strict=True))
    compared, seen = 0, set()
    for cell, group in zip(supernet.cells, supernet.groups, strict=True):
        operations, edges = (np.array(values) for values in supernet.encodings[group].importances())
        for mixture, rows in zip(cell.mixed, edges_from(cell.nodes), strict=True):
            variable = mixture.flats.kernel.variable
            seen.add(id(variable))
            for position, candidate in enumerate(mixture.candidates):
                for layer in candidate._flatten_layers():
                    if isinstance(layer, MaskedKernel):
                        own, whole = (np.array(layer.kernel.of(g[id(variable)])) for g in (scaled, before))
                        for edge, row in enumerate(rows):
                            factor = operations[row, position] * edges[row]
                            np.testing.assert_allclose(own[edge] * factor, whole[edge], rtol=1e-5, atol=1e-9)
                            compared += bool(np.abs(whole[edge]).max() > 1e-6)
    assert compared > 20
    others = [identity for identity in before if identity not in seen]
    assert others
    assert all(np.array_equal(before[identity], scaled[identity]) for identity in others)


def test_supernet_training_uses_it(make_supernet, make_training, make_batch):
    ways = []
    for name in ("mixed", "alone"):
        supernet = make_supernet()
        optimizer = keras.optimizers.SGD(0.05)
        training = make_training(
            supernet,
            decisions=(False,),
            weight_optimizer=optimizer,
            weight_decay=0.0,
            gradient_clip=0.0,
            operation_gradient=name,
        )
        kernels = [mixture.flats.kernel.variable for mixture in supernet.cells[0].mixed]
        before = [kernel.numpy() for kernel in kernels if "mixed_2" in kernel.path]
        training.train_step((make_batch(0), make_batch(1)))
        after = [kernel.numpy() for kernel in kernels if "mixed_2" in kernel.path]
        ways.append(after[0] - before[0])
    # One edge leaves the first intermediate node; it is one of three into the second, with three operations.
    np.testing.assert_allclose(ways[1], 9.0 * ways[0], rtol=0.02, atol=1e-5)
    assert np.abs(ways[0]).max() > 1e-4
