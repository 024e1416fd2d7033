"""Eq. 2: a cell written out node by node from its own layers."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.layers.cell import Cell
from hmnas_tf.layers.stem import Stem

OPERATIONS = ("sep_conv_3x3", "dil_conv_3x3", "avg_pool_3x3", "identity")


def written_out(cell: Cell, first, second, weights: np.ndarray, training: bool) -> np.ndarray:
    """x_t = sum over s < t of sum over o of weight * o(x_s); rows of the weights go target by target."""
    states = [cell.preprocess[i](x, training=training)[0] for i, x in enumerate((first, second))]
    rows = {edge: row for row, edge in enumerate((s, t) for t in range(2, 2 + cell.nodes) for s in range(t))}
    results = {}
    for target in range(2, 2 + cell.nodes):
        source = len(states) - 1  # the last state is complete now: run its operations once, for all its edges
        for s in range(source + 1):
            if s not in results and s < len(cell.mixed):
                results[s] = [np.array(c(states[s], training=training)) for c in cell.mixed[s].candidates]
        total = 0.0
        for s in range(target):
            edge = target - max(s + 1, 2)  # how many edges of s go to nodes before this one
            for o in range(len(cell.operations)):
                total = total + weights[rows[s, target], o] * results[s][o][edge]
        states.append(total.astype("float32"))
    return np.concatenate(states[2:], axis=-1)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("reduction", "previous_reduction", "size"),
    [(False, False, 8), (True, False, 7), (False, True, 4), (True, True, 4)],
)
@pytest.mark.parametrize(
    ("nodes", "reduce_in"), [(1, "operations"), (3, "operations"), (2, "preprocessing"), (2, "pooling")]
)
def test_cell_is_equation_2(
    nodes, reduce_in, reduction, previous_reduction, size, training, images, randomise
):
    cell = Cell(
        4,
        nodes=nodes,
        operations=OPERATIONS,
        reduction=reduction,
        previous_reduction=previous_reduction,
        reduce_in=reduce_in,
        affine=True,
    )
    larger = size * (2 if previous_reduction else 1)
    first, second = images(2, larger, larger, 6), images(2, size, size, 5, seed=2)
    cell.build((None, *first.shape[1:]), (None, *second.shape[1:]))
    randomise(cell)
    weights = np.random.default_rng(1).uniform(0, 1, (nodes * (nodes + 3) // 2, 4)).astype("float32")
    result = cell(first, second, weights, training=training)
    side = -(-size // 2) if reduction else size
    assert result.shape == (2, side, side, nodes * 4)
    assert cell.output_shape_for((2, *second.shape[1:])) == result.shape
    expected = written_out(cell, first, second, weights, training)
    np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_weights_learn_through_the_cell(images):
    cell = Cell(4, nodes=2, operations=OPERATIONS)
    cell.build((None, 8, 8, 4), (None, 8, 8, 4))
    weights = tf.Variable(np.full((5, 4), 0.25, "float32"))
    first, second = images(2, 8, 8, 4), images(2, 8, 8, 4, seed=2)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(cell(first, second, weights * 1.0, training=True) ** 2)
    gradient = tape.gradient(loss, weights)
    assert np.all(gradient.numpy() != 0)


@pytest.mark.parametrize(
    ("filters", "strides", "activate_first"), [((6,), 1, False), ((3, 4), 2, False), ((4,), 2, True)]
)
@pytest.mark.parametrize("size", [8, 7])
def test_stem_is_a_chain_of_evenly_padded_convolutions(
    filters, strides, activate_first, size, images, randomise, batch_norm
):
    stem, x = Stem(filters, strides=strides, activate_first=activate_first), images(2, size, size, 3)
    stem.build((None, size, size, 3))
    randomise(stem)
    y = x
    for i, (conv, norm) in enumerate(zip(stem.convs, stem.batch_norms, strict=True)):
        y = np.maximum(y, 0) if i or activate_first else y
        padded = np.pad(y, [(0, 0), (1, 1), (1, 1), (0, 0)]).astype("float32")
        y = tf.nn.conv2d(padded, conv.kernel * conv.binary_mask(), strides, "VALID").numpy()
        names = ("moving_mean", "moving_variance", "gamma", "beta")
        y = batch_norm(y, *(getattr(norm, name).numpy()[0] for name in names))
    result = stem(x, training=False)
    assert stem.output_shape_for((2, size, size, 3)) == result.shape
    np.testing.assert_allclose(result, y, rtol=1e-3, atol=1e-4)
    image = keras.Input((size, size, 3))
    model = keras.Model(image, stem.stock(image, "stem"))
    np.testing.assert_allclose(model(x, training=False), result, rtol=1e-4, atol=1e-5)
