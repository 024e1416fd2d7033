"""Partial channels: a cell against a plain formula, and the stock form against the layers."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.layers import partial, stock
from hmnas_tf.layers.cell import Cell
from hmnas_tf.layers.masked_cell import MaskedCell
from hmnas_tf.layers.masking import strip

OPERATIONS = ("sep_conv_3x3", "dil_conv_3x3", "avg_pool_3x3", "identity")
EDGES = [(0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]


def halved(x: np.ndarray) -> np.ndarray:
    """The largest of each 2x2 pixels; those at the end of an odd size have no neighbours."""
    rows, columns = range(0, x.shape[1], 2), range(0, x.shape[2], 2)
    return np.stack([np.stack([x[:, i : i + 2, j : j + 2].max((1, 2)) for j in columns], 1) for i in rows], 1)


def written_out(cell: Cell, first, second, weights: np.ndarray, share: int, training: bool) -> np.ndarray:
    """Node by node: bypassed channels times the last weight, then operations on the first channels."""
    states = [cell.preprocess[i](x, training=training)[0].numpy() for i, x in enumerate((first, second))]
    outcomes: dict[int, list] = {}
    for target in (2, 3):
        passing, made = 0.0, 0.0
        for row, (source, reached) in enumerate(EDGES):
            if reached != target:
                continue
            x = states[source]
            if source not in outcomes:  # for all edges of the source, since statistics move at each call
                candidates = cell.mixed[source].candidates
                outcomes[source] = [np.array(c(x[..., :share], training=training)) for c in candidates]
            others = x[..., share:]
            passing = passing + weights[row, -1] * (
                halved(others) if cell.reduction and source < 2 else others
            )
            edge = [t for s, t in EDGES if s == source].index(target)
            for o in range(len(OPERATIONS)):
                made = made + weights[row, o] * outcomes[source][o][edge]
        states.append(np.concatenate([passing, made], axis=-1).astype("float32"))
    return np.concatenate(states[2:], axis=-1)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("channels", "k"), [(4, 2), (12, 3), (8, 4)])
@pytest.mark.parametrize(
    ("reduction", "previous_reduction", "size"),
    [(False, False, 7), (True, False, 8), (True, False, 7), (False, True, 4), (True, True, 5)],
)
def test_a_partial_cell_is_the_formula(
    reduction, previous_reduction, size, channels, k, training, images, randomise
):
    cell = Cell(
        channels,
        nodes=2,
        operations=OPERATIONS,
        reduction=reduction,
        previous_reduction=previous_reduction,
        partial_channels=k,
        affine=True,
    )
    larger = size * (2 if previous_reduction else 1)
    first, second = images(2, larger, larger, 6), images(2, size, size, 5, seed=2)
    cell.build((None, *first.shape[1:]), (None, *second.shape[1:]))
    randomise(cell)
    weights = np.random.default_rng(1).uniform(0, 1, (5, 5)).astype("float32")
    result = cell(first, second, weights, training=training)
    assert cell.output_shape_for((2, *second.shape[1:])) == result.shape
    expected = written_out(cell, first, second, weights, channels // k, training)
    np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_one_part_is_the_state_itself_and_needs_nothing(images):
    x = tf.constant(images(2, 4, 4, 4))
    whole, nothing = partial.split(x, 1, 2)
    assert whole is x
    assert nothing is None
    assert partial.node([x], []) is x
    image = keras.Input((4, 4, 4))
    assert partial.stock_split(image, 1, 2, "node0") == (image, None)
    assert partial.stock_node([image], [], "node2") is image


def test_along_a_chain_of_nodes_all_channels_come_to_the_operations():
    """Operations write the number of their node; what passes by keeps its own."""
    state = np.zeros((1, 1, 1, 8), "float32")
    for number in (1.0, 2.0, 3.0, 4.0):
        read, others = partial.split(tf.constant(state), 4, 1)
        assert not read.numpy().any()
        state = partial.node([tf.fill(read.shape, number)], [others]).numpy()
    np.testing.assert_array_equal(state.ravel(), [1, 1, 2, 2, 3, 3, 4, 4])


def test_weights_of_what_passes_by_learn(images, randomise):
    cell = Cell(4, nodes=2, operations=OPERATIONS, reduction=True, partial_channels=2)
    cell.build((None, 8, 8, 4), (None, 8, 8, 4))
    randomise(cell)
    weights = tf.Variable(np.full((5, 5), 0.25, "float32"))
    first, second = images(2, 8, 8, 4), images(2, 8, 8, 4, seed=2)
    outer = images(2, 4, 4, 8, seed=3)

    def loss(weights):
        return tf.reduce_sum(outer * cell(first, second, weights, training=False))

    with tf.GradientTape() as tape:
        value = loss(weights * 1.0)
    gradient = tape.gradient(value, weights).numpy()
    for row in range(5):
        step = np.zeros((5, 5), "float32")
        step[row, -1] = 1e-3
        difference = float(loss(weights + step) - loss(weights - step)) / 2e-3
        scale = float(np.abs(gradient).max())
        assert gradient[row, -1] == pytest.approx(difference, rel=2e-3, abs=2e-3 * scale)
        assert gradient[row, -1] != 0


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("size", [8, 7])
def test_stock_layers_split_and_join_as_the_layers_do(size, strides, images):
    image = keras.Input((size, size, 8))
    read, others = partial.stock_split(image, 4, strides, "node0")
    joined = partial.stock_node([stock.subsample(read, strides, "every")] * 2, [others, others], "node2")
    model = keras.Model(image, [read, others, joined])
    x = images(2, size, size, 8)
    expected = partial.split(tf.constant(x), 4, strides)
    *parts, whole = model(x)
    for part, value in zip(parts, expected, strict=True):
        np.testing.assert_array_equal(part, value)
    every = x[:, ::strides, ::strides, :2]
    np.testing.assert_array_equal(whole, np.concatenate([2 * expected[1], 2 * every], -1))


@pytest.mark.parametrize("density", [1.0, 0.6, 0.1])
@pytest.mark.parametrize("reduction", [False, True])
def test_a_stripped_partial_cell_computes_what_the_masked_one_does(reduction, density, images, randomise):
    image = keras.Input((7, 7, 3))
    cell = MaskedCell(8, nodes=3, operations=OPERATIONS, reduction=reduction, partial_channels=4)
    model = keras.Model(image, keras.layers.Dense(2)(cell(image, image)))
    randomise(cell, density=density)
    stripped = strip(model)
    assert {type(layer).__module__.partition(".")[0] for layer in stripped.layers} == {"keras"}
    x = images(2, 7, 7, 3)
    np.testing.assert_allclose(stripped(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("k", [0, 3, 8])
def test_channels_that_cannot_be_shared_out_are_refused(k):
    with pytest.raises(ValueError, match=f"channels=4 cannot be shared out with partial_channels={k}"):
        Cell(4, nodes=1, operations=OPERATIONS, partial_channels=k)
