"""The unrolled step of a supernet against really taking it; test_unrolled_step.py has exact derivatives."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.stages.hypergradients import HYPERGRADIENTS, PERTURBATION
from hmnas_tf.stages.stage import cross_entropy

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
