"""The unrolled step against really taking it, and against the exact derivative of a tiny network."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.stages.hypergradients import HYPERGRADIENTS, PERTURBATION
from hmnas_tf.stages.stage import Stage, cross_entropy

RATE, MOMENTUM, DECAY = 0.4, 0.9, 0.05


@pytest.fixture(scope="module")
def stage(make_supernet, make_training, make_batch):
    """Supernet training after one weight step, so that there is momentum to unroll."""
    optimizer = keras.optimizers.SGD(RATE, momentum=MOMENTUM)
    stage = make_training(make_supernet(), [False], weight_optimizer=optimizer, gradient_clip=0.0)
    stage.train_step((make_batch(5), make_batch(6)))
    return stage


def flat(tensors) -> np.ndarray:
    return np.concatenate([np.asarray(tensor).ravel() for tensor in tensors])


def relative_difference(found, expected) -> float:
    return float(np.linalg.norm(flat(found) - flat(expected)) / np.linalg.norm(flat(expected)))


def really_assigned(stage, training, validation) -> list[np.ndarray]:
    """The recipe of DARTS with weights that are assigned, and put back at the end."""
    weights, architecture = stage.network.network_weights, stage.network.architecture_parameters

    def slopes(batch, variables):
        with tf.GradientTape() as tape:
            loss = cross_entropy(batch[1], stage.network(batch[0], training=True))
        return [g.numpy() for g in tape.gradient(loss, [v.value for v in variables])]

    def assign(new):
        for variable, value in zip(weights, new, strict=True):
            variable.assign(value)

    old = [w.numpy() for w in weights]
    buffers = [-velocity.numpy() / RATE for velocity in stage.optimizer.momentums]
    unrolled = [
        w - RATE * (MOMENTUM * buffer + g + DECAY * w)
        for w, buffer, g in zip(old, buffers, slopes(training, weights), strict=True)
    ]
    assign(unrolled)
    found = slopes(validation, [*architecture, *weights])
    direct, towards = found[: len(architecture)], found[len(architecture) :]
    step = PERTURBATION / np.linalg.norm(flat(towards))
    assign([w + step * v for w, v in zip(old, towards, strict=True)])
    ahead = slopes(training, architecture)
    assign([w - step * v for w, v in zip(old, towards, strict=True)])
    behind = slopes(training, architecture)
    assign(old)
    return [d - RATE * (a - b) / (2 * step) for d, a, b in zip(direct, ahead, behind, strict=True)]


def test_second_order_is_what_really_assigning_the_weights_gives(stage, make_batch):
    training, validation = make_batch(0), make_batch(1)
    _, found = HYPERGRADIENTS["second_order"](stage, training, validation)
    expected = really_assigned(stage, training, validation)
    assert [g.shape for g in found] == [v.shape for v in stage.network.architecture_parameters]
    assert relative_difference(found, expected) < 1e-3


def test_second_order_changes_nothing(stage, make_batch, values, bitwise_equal):
    variables = [*stage.network.variables]
    for optimizer in stage.optimizers:
        variables += optimizer.variables
    before = values(variables)
    HYPERGRADIENTS["second_order"](stage, make_batch(0), make_batch(1))
    assert bitwise_equal(values(variables), before)


def test_the_orders_differ_in_gradient_and_loss(stage, make_batch):
    first_loss, first = HYPERGRADIENTS["first_order"](stage, make_batch(0), make_batch(1))
    second_loss, second = HYPERGRADIENTS["second_order"](stage, make_batch(0), make_batch(1))
    assert relative_difference(second, first) > 0.02
    assert abs(float(first_loss) - float(second_loss)) > 1e-3


def test_first_order_is_the_slope_of_the_validation_loss(stage, make_batch):
    images, labels = make_batch(1)
    parameters = [v.value for v in stage.network.architecture_parameters]
    with tf.GradientTape() as tape:
        expected_loss = cross_entropy(labels, stage.network(images, training=True))
    expected = tape.gradient(expected_loss, parameters)
    loss, found = HYPERGRADIENTS["first_order"](stage, make_batch(0), (images, labels))
    assert float(loss) == pytest.approx(float(expected_loss), rel=1e-6)
    assert relative_difference(found, expected) < 1e-6


def test_a_step_of_training_with_the_second_order_moves_the_architecture(
    make_supernet, make_training, make_batch, values, bitwise_equal
):
    supernet = make_supernet()
    stage = make_training(supernet, [True], architecture_gradient="second_order")
    before = values(supernet.architecture_parameters)
    stage.train_step((make_batch(0), make_batch(1)))
    assert not bitwise_equal(values(supernet.architecture_parameters), before)


class SmoothNetwork(keras.Model):
    """Two layers whose units an architecture parameter weighs: differentiable as often as one likes."""

    def __init__(self):
        super().__init__()
        normal = keras.initializers.RandomNormal(stddev=0.5, seed=1)
        self.inner = self.add_weight(shape=(6, 5), initializer=normal, name="inner")
        self.outer = self.add_weight(shape=(5, 3), initializer=normal, name="outer")
        self.importance = self.add_weight(shape=(5,), initializer=normal, name="importance")
        self.built = True

    def call(self, images, training=None):
        return self.logits(
            images, [self.inner.value, self.outer.value], tf.convert_to_tensor(self.importance)
        )

    @staticmethod
    def logits(images, weights, importance):
        return tf.matmul(tf.tanh(tf.matmul(images, weights[0])) * tf.nn.softmax(importance) * 5.0, weights[1])

    @property
    def network_weights(self):
        return [self.inner, self.outer]

    @property
    def architecture_parameters(self):
        return [self.importance]


def test_the_finite_difference_is_the_exact_derivative_through_the_unrolled_step():
    random = np.random.default_rng(3)
    training, validation = (
        (random.standard_normal((16, 6), np.float32), random.integers(0, 3, 16)) for _ in range(2)
    )
    stage = Stage(SmoothNetwork())
    stage.weight_decay = DECAY
    stage.compile(optimizer=keras.optimizers.SGD(RATE, momentum=MOMENTUM), jit_compile=False)
    stage.optimizer.build(stage.network.network_weights)
    for velocity in stage.optimizer.momentums:
        velocity.assign(0.05 * random.standard_normal(velocity.shape))
    weights = [tf.constant(w.numpy()) for w in stage.network.network_weights]
    importance = tf.constant(stage.network.importance.numpy())

    def loss(batch, at):
        return cross_entropy(batch[1], SmoothNetwork.logits(batch[0], at, importance))

    with tf.GradientTape() as outer:
        outer.watch(importance)
        with tf.GradientTape() as inner:
            inner.watch(weights)
            value = loss(training, weights)
        unrolled = [
            w + MOMENTUM * velocity.numpy() - RATE * (g + DECAY * w)
            for w, velocity, g in zip(
                weights, stage.optimizer.momentums, inner.gradient(value, weights), strict=True
            )
        ]
        value = loss(validation, unrolled)
    exact = outer.gradient(value, importance)
    with tf.GradientTape() as tape:
        tape.watch(importance)
        value = loss(validation, [tf.stop_gradient(w) for w in unrolled])
    direct = tape.gradient(value, importance)
    _, (found,) = HYPERGRADIENTS["second_order"](stage, training, validation)
    correction = np.linalg.norm(exact - direct)
    assert correction > 0.02 * np.linalg.norm(direct)
    assert np.linalg.norm(found - exact) < 0.02 * correction
