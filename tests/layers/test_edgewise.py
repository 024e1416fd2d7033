"""Edges as calls of one function of a graph, kept or computed again on the way back: the same numbers as without."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.layers import Cell, MixedOperation
from hmnas_tf.settings.paper import PAPER_OPERATIONS

EDGES, CHANNELS = 3, 4


def made(strides: int, size: int, **settings) -> MixedOperation:
    keras.utils.set_random_seed(0)
    mixed = MixedOperation(CHANNELS, edges=EDGES, strides=strides, **settings)
    mixed.build((2, size, size, CHANNELS))
    return mixed


def step(mixed: MixedOperation, x: tf.Tensor, weights: tf.Tensor) -> tuple:
    """Returns results, the gradients of everything and the averages that the step moved."""
    values = [x, weights, *(variable.value for variable in mixed.trainable_variables)]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(values)
        results = mixed(x, weights, training=True)
        loss = tf.add_n([tf.reduce_sum(tf.sin((edge + 1.0) * y)) for edge, y in enumerate(results)])
    gradients = tape.gradient(loss, values)
    return results, gradients, [variable.value + 0.0 for variable in mixed.non_trainable_variables]


def arguments(size: int) -> tuple[tf.Tensor, tf.Tensor]:
    random = np.random.default_rng(1)
    x = random.standard_normal((2, size, size, CHANNELS))
    weights = random.random((EDGES, len(PAPER_OPERATIONS)))
    return tf.constant(x, tf.float32), tf.constant(weights, tf.float32)


def assert_equal(ours: tuple, expected: tuple) -> None:
    for found, wanted in zip(tf.nest.flatten(ours), tf.nest.flatten(expected), strict=True):
        scale = max(1.0, float(np.abs(wanted).max()))
        np.testing.assert_allclose(found / scale, wanted / scale, atol=2e-5)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize(("strides", "size"), [(1, 8), (1, 7), (2, 8), (2, 7)])
def test_a_graph_computes_what_single_operations_compute(strides, size, affine, recompute):
    expected = step(made(strides, size, affine=affine), *arguments(size))
    mixed = made(strides, size, affine=affine, recompute=recompute)
    assert_equal(tf.function(step, autograph=False)(mixed, *arguments(size)), expected)


def functions(graph: tf.Graph) -> list[str]:
    return [f.signature.name for f in graph.as_graph_def().library.function if "backward" in f.signature.name]


def test_equal_edges_of_a_cell_are_one_function_of_the_graph():
    cell = Cell(CHANNELS, nodes=3, reduction=True)
    shape = (2, 8, 8, CHANNELS)
    cell.build(shape, shape)
    weights = tf.random.uniform((9, len(PAPER_OPERATIONS)))

    @tf.function(autograph=False)
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(cell(x, x, weights, training=True))
        return tape.gradient(loss, x)

    graph = gradient.get_concrete_function(tf.zeros(shape)).graph
    assert len(functions(graph)) == 2  # of stride 2 and of stride 1
    calls = [
        node
        for node in graph.as_graph_def().node
        if node.op in ("PartitionedCall", "StatefulPartitionedCall")
    ]
    assert len(calls) == 2 * 9


def convolutions(recompute: bool) -> dict[str, int]:
    """Returns how many depthwise convolutions the gradient of one edge has in its two functions."""
    concrete = tf.function(step, autograph=False).get_concrete_function(
        made(1, 8, recompute=recompute), *arguments(8)
    )
    counts = {}
    for function in concrete.graph.as_graph_def().library.function:
        ops = [node.op for node in function.node_def]
        if "DepthwiseConv2dNative" in ops or "DepthwiseConv2dNativeBackpropInput" in ops:
            kind = "backward" if "backward" in function.signature.name else "forward"
            counts[kind] = ops.count("DepthwiseConv2dNative")
    return counts


def test_an_edge_is_computed_again_on_the_way_back_only_if_asked():
    assert convolutions(recompute=False) == {"forward": 6, "backward": 0}
    assert convolutions(recompute=True) == {"forward": 6, "backward": 6}


def test_inference_is_the_same():
    x, weights = arguments(8)
    expected = made(1, 8)(x, weights, training=False)
    assert_equal(made(1, 8, recompute=True)(x, weights, training=False), expected)
