"""The optimizers of the stages are Keras' in other kernels."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.stages import optimizers
from hmnas_tf.stages.learning_rates import cosine

STEPS = 6


def walk(kind: type, strategy: tf.distribute.Strategy, in_graph: bool, **settings) -> list[np.ndarray]:
    """Returns the variables and the slots after some steps with given gradients, at a rate that changes."""
    random = np.random.default_rng(0)
    with strategy.scope():
        variables = [
            keras.Variable(random.standard_normal(shape), dtype="float32") for shape in ((3, 2), (4,))
        ]
        optimizer = kind(cosine(0.1, STEPS), **settings)
        optimizer.build(variables)

    def step(gradients):
        found = [gradient + 0.0 for gradient in gradients]  # on the replica's device
        optimizer.apply_gradients(zip(found, variables, strict=True))

    def run(gradients):
        strategy.run(step, args=(gradients,))

    run = tf.function(run, autograph=False) if in_graph else run
    for number in range(STEPS):
        scale = 10.0 ** (2 - number)  # from far too large to next to nothing
        run([tf.constant(scale * random.standard_normal(v.shape), tf.float32) for v in variables])
    assert optimizer.iterations.numpy() == STEPS
    return [variable.numpy() for variable in [*variables, *optimizer.variables[2:]]]


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("SGD", {}),
        ("SGD", {"momentum": 0.9}),
        ("SGD", {"momentum": 0.9, "nesterov": True}),
        ("Adam", {}),
        ("Adam", {"beta_1": 0.5, "epsilon": 1e-3}),
    ],
    ids=str,
)
def test_they_walk_as_those_of_keras(kind, settings, mirrored):
    """Two replicas are in `replicas_program.py`."""
    strategy = tf.distribute.MirroredStrategy(["CPU:0"]) if mirrored else tf.distribute.get_strategy()
    expected = walk(getattr(keras.optimizers, kind), strategy, mirrored, **settings)
    found = walk(getattr(optimizers, kind), strategy, mirrored, **settings)
    assert len(found) == len(expected) >= 2
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("kind", "settings"), [("SGD", {"momentum": 0.9}), ("Adam", {})])
def test_a_variable_costs_a_graph_few_nodes(kind, settings):
    def nodes(count: int) -> int:
        variables = [keras.Variable(np.ones(3, np.float32)) for _ in range(count)]
        optimizer = getattr(optimizers, kind)(0.1, **settings)
        optimizer.build(variables)

        @tf.function(autograph=False)
        def step(gradient):
            optimizer.apply_gradients([(gradient, variable) for variable in variables])

        return len(step.get_concrete_function(tf.ones(3)).graph.as_graph_def().node)

    assert nodes(12) - nodes(2) <= 10 * 12
