"""What rests or is gone changes no number: neither results nor the gradients of anything that can still move."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.layers.activity import ACTIVE, GONE, RESTING
from hmnas_tf.layers.cell import Cell
from hmnas_tf.layers.mixed_operation import MixedOperation
from hmnas_tf.layers.source import Source
from hmnas_tf.settings.paper import PAPER_OPERATIONS

OPERATIONS = (*PAPER_OPERATIONS, "none")
A, R, G = ACTIVE, RESTING, GONE
TABLES = {
    "some rest": [[A] * 8, [R] * 4 + [A] * 4, [R, A] * 4],
    "operations rest on all edges": [[R, A, R, A] * 2] * 3,
    "some are gone": [[A] * 8, [G] * 4 + [A] * 4, [G, A] * 4],
    "operations are gone on all edges": [[G, A, A, G] * 2] * 3,
    "an edge is gone, one rests": [[G] * 8, [A] * 8, [R] * 8],
    "all kinds": [[G, R, A] * 2 + [R, G], [G] * 8, [A, G, R, G] * 2],
}


def statistics(layer) -> list[np.ndarray]:
    return [variable.numpy() for variable in layer.non_trainable_variables]


def one_step(mixed, x, weights):
    """Returns the sums of the edges, the gradients of the input, the weights and the kernels' masks, and statistics.

    The statistics are then as they were before.
    """
    masks = [mask.value for mask in mixed.real_masks]
    before = statistics(mixed)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch([x, weights, *masks])
        with Source(x) as source:
            terms = mixed.terms(source, weights, True)
        sums = [tf.add_n(own) if own else 0.0 for own in terms]
        loss = tf.add_n([tf.reduce_sum(y**3 + (edge + 1.0) * y) for edge, y in enumerate(sums)])
    zero = tf.UnconnectedGradients.ZERO
    gradients = tape.gradient(loss, [x, weights, *masks], unconnected_gradients=zero)
    after = statistics(mixed)
    for variable, value in zip(mixed.non_trainable_variables, before, strict=True):
        variable.assign(value)
    return terms, sums, [gradient.numpy() for gradient in gradients], after


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_the_numbers_stay(table, strides, affine, images, randomise):
    table = np.array(table)
    mixed = MixedOperation(4, edges=3, strides=strides, operations=OPERATIONS, affine=affine)
    x = tf.convert_to_tensor(images(2, 8, 8, 4))
    mixed.build(x.shape)
    randomise(mixed)
    importances = np.random.default_rng(3).uniform(0.5, 1, table.shape).astype("float32")
    weights = tf.constant(importances * (table == ACTIVE))
    everything, sums, gradients, _ = one_step(mixed, x, weights)
    mixed.set_activity(table)
    terms, fewer, found, _ = one_step(mixed, x, weights)
    assert [not own for own in terms] == (table == GONE).all(axis=1).tolist()
    for full, part in zip(sums, fewer, strict=True):
        np.testing.assert_allclose(np.broadcast_to(part, full.shape), full, rtol=1e-5, atol=1e-6)
    kept = table != GONE  # the weights of the others need no gradient
    gradients[1], found[1] = gradients[1] * kept, found[1] * kept
    assert (gradients[1] != 0).sum() > kept.sum() / 2
    for full, part in zip(gradients, found, strict=True):
        np.testing.assert_allclose(part, full, rtol=1e-4, atol=1e-4 * np.abs(full).max())
    mixed.set_activity(None)
    assert [len(own) for own in one_step(mixed, x, weights)[0]] == [len(own) for own in everything]


def test_statistics_of_what_is_gone_stay_and_the_others_move(images, randomise):
    mixed = MixedOperation(4, edges=2, operations=("sep_conv_3x3", "dil_conv_5x5"))
    x = tf.convert_to_tensor(images(2, 8, 8, 4))
    mixed.build(x.shape)
    randomise(mixed)
    weights = tf.constant([[1.0, 1.0], [0.0, 0.0]])
    before, (*_, full) = statistics(mixed), one_step(mixed, x, weights)
    mixed.set_activity(np.array([[ACTIVE, ACTIVE], [GONE, RESTING]]))
    *_, found = one_step(mixed, x, weights)
    # Mean and variance of the separable convolution's two batch normalizations, then of the dilated one's.
    for was, whole, now in zip(before, full, found, strict=True):
        np.testing.assert_array_equal(now[0], whole[0])
        np.testing.assert_array_equal(now[1], np.concatenate([was[1, :16], whole[1, 16:]]))
        assert was.shape == (2, 24)
        assert (whole != was).all()


def test_a_node_that_nothing_computes_is_zeros(images, randomise):
    cell = Cell(4, nodes=2, operations=("sep_conv_3x3", "identity"))
    x = tf.convert_to_tensor(images(2, 8, 8, 3))
    cell.build(x.shape, x.shape)
    randomise(cell)
    weights = np.ones((5, 2), np.float32)
    weights[[0, 1, 4]] = 0.0  # the first node is dead
    full = cell.call(x, x, weights, training=True)
    cell.set_activity(np.where(weights > 0, ACTIVE, GONE))
    np.testing.assert_array_equal(cell.call(x, x, weights, training=True), full)
    assert not full.numpy()[..., :4].any()
    assert full.numpy()[..., 4:].any()


def test_an_input_that_nothing_reads_is_not_preprocessed(images, randomise):
    cell = Cell(4, nodes=2, operations=("sep_conv_3x3", "identity"))
    x = tf.convert_to_tensor(images(2, 8, 8, 3))
    cell.build(x.shape, x.shape)
    randomise(cell)
    weights = np.ones((5, 2), np.float32)
    weights[[0, 2]] = 0.0  # of the edges that leave the first input
    full = cell.call(x, x, weights, training=True)
    before = [statistics(preprocess) for preprocess in cell.preprocess]
    cell.set_activity(np.where(weights > 0, ACTIVE, GONE))
    np.testing.assert_array_equal(cell.call(x, x, weights, training=True), full)
    after = [statistics(preprocess) for preprocess in cell.preprocess]
    assert all(np.array_equal(was, now) for was, now in zip(before[0], after[0], strict=True))
    assert all((was != now).any() for was, now in zip(before[1], after[1], strict=True))
