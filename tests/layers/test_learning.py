"""What is fixed has no gradient, and nothing is kept for it."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.layers import fused
from hmnas_tf.layers.binary_mask import binarize
from hmnas_tf.layers.learning import MASKS, WEIGHTS, fixed, is_fixed
from hmnas_tf.layers.mixed_operation import MixedOperation
from hmnas_tf.layers.source import Source
from hmnas_tf.settings.paper import PAPER_OPERATIONS

EDGES, CHANNELS = 2, 4


def test_it_is_fixed_inside_only_even_after_an_error():
    assert not is_fixed(WEIGHTS)
    with pytest.raises(RuntimeError), fixed(WEIGHTS):
        with fixed(MASKS):
            assert is_fixed(WEIGHTS)
            assert is_fixed(MASKS)
        assert not is_fixed(MASKS)
        raise RuntimeError
    assert not is_fixed(WEIGHTS)


def test_a_fixed_mask_has_its_values_but_no_gradient():
    real_mask = tf.constant([0.002, 0.005, 0.01])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(real_mask)
        learned = binarize(real_mask, 0.005)
        with fixed(MASKS):
            constant = binarize(real_mask, 0.005)
    np.testing.assert_array_equal(constant, learned)
    np.testing.assert_array_equal(tape.gradient(learned, real_mask), np.ones(3))
    assert tape.gradient(constant, real_mask) is None


def step(mixed: MixedOperation, x, weights, *, source: bool = False) -> tuple:
    """Returns the results and the gradients in x and in the mixing weights."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch([x, weights])
        with Source(x, fixed=source) as node:
            terms = mixed.terms(node, weights, True)
        loss = tf.add_n([tf.reduce_sum(tf.sin((e + 1.0) * tf.add_n(own))) for e, own in enumerate(terms)])
    return loss, tape.gradient(loss, [x, weights], unconnected_gradients=tf.UnconnectedGradients.ZERO)


def made(randomise, strides: int, size: int, **settings) -> MixedOperation:
    mixed = MixedOperation(CHANNELS, edges=EDGES, strides=strides, **settings)
    mixed.build((2, size, size, CHANNELS))
    return randomise(mixed)


def arguments(images, size: int) -> tuple:
    weights = np.random.default_rng(1).random((EDGES, len(PAPER_OPERATIONS)), np.float32)
    return tf.constant(images(2, size, size, CHANNELS)), tf.constant(weights)


@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize("settings", [{}, {"affine": True}, {"recompute": True}], ids=str)
@pytest.mark.parametrize(("strides", "size"), [(1, 8), (1, 7), (2, 8), (2, 7)])
def test_gradients_of_the_rest_stay(strides, size, settings, in_graph, images, randomise):
    mixed = made(randomise, strides, size, **settings)
    run = tf.function(step, autograph=False) if in_graph else step
    loss, (to_x, to_weights) = step(mixed, *arguments(images, size))
    with fixed(WEIGHTS, MASKS):
        same_loss, found = run(mixed, *arguments(images, size))
        again_loss, (no_x, again) = run(mixed, *arguments(images, size), source=True)
    np.testing.assert_allclose([same_loss, again_loss], [loss, loss], rtol=1e-5)
    for ours, expected in zip([*found, again], [to_x, to_weights, to_weights], strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())
    assert np.abs(to_x).max() > 0.1
    # Through shared operations the source still has a gradient, which a cell does not ask for.
    assert np.abs(no_x - to_x).max() > 0.1


def test_the_unknown_size_of_a_batch_is_no_obstacle(images, randomise):
    mixed, (x, weights) = made(randomise, 2, 8), arguments(images, 8)
    expected = step(mixed, x, weights)

    @tf.function(
        input_signature=[tf.TensorSpec((None, 8, 8, CHANNELS)), tf.TensorSpec(weights.shape)], autograph=False
    )
    def found(x, weights):
        with fixed(WEIGHTS):
            return step(mixed, x, weights)

    for ours, wanted in zip(tf.nest.flatten(found(x, weights)), tf.nest.flatten(expected), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-3, atol=1e-5 * np.abs(wanted).max())


def kept(mixed: MixedOperation, x, weights) -> int:
    """Returns how many tensors the functions of all edges keep for the way back."""
    graph = tf.function(step, autograph=False).get_concrete_function(mixed, x, weights).graph
    calls = [node for node in graph.get_operations() if node.type == "PartitionedCall"]
    forward = [node for node in calls if "forward" in node.get_attr("f").name]
    return sum(len(node.outputs) for node in forward)


def test_with_fixed_weights_less_is_kept(images, randomise):
    mixed, (x, weights) = made(randomise, 1, 8), arguments(images, 8)
    all_of_it = kept(mixed, x, weights)
    with fixed(WEIGHTS):
        assert kept(mixed, x, weights) < all_of_it


def test_a_linear_function_has_its_gradient(images):
    x, kernel = tf.constant(images(2, 6, 6, 4)), tf.constant(images(3, 3, 4, 1))

    def blur(x):
        return fused.depthwise(x, kernel, strides=2)

    def transposed(upstream, shape):
        return fused.depthwise_transposed(upstream, kernel, 2, shape)

    gradients = []
    for function in (blur, fused.linear(blur, transposed)):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch([x, kernel])
            loss = tf.reduce_sum(tf.sin(function(x)))
        gradients.append((tape.gradient(loss, x), tape.gradient(loss, kernel)))
    (expected, to_kernel), (found, none) = gradients
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert to_kernel is not None
    assert none is None
