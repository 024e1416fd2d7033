"""Approximations of the gradient of the validation loss at the best weights, in alpha and beta (paper §3.2).

A hypergradient is a function of the stage, a training batch and a validation batch, each (images, labels) of one
replica; it returns the validation loss of this replica and the gradients, equal on all replicas.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from hmnas_tf.layers.learning import WEIGHTS, fixed
from hmnas_tf.stages.stage import Stage, differentiate, gradients

PERTURBATION = 1e-2  # DARTS, §2.3: norm of the finite difference's step


@fixed(WEIGHTS)
def first_order(stage: Stage, training: tuple, validation: tuple) -> tuple[Any, list[Any]]:
    """Takes the current weights for the best ones (DARTS, arXiv:1806.09055, xi = 0)."""
    parameters = stage.network.architecture_parameters
    loss, found, _ = gradients(lambda: stage.loss_and_logits(*validation), parameters)
    return loss, found


def second_order(stage: Stage, training: tuple, validation: tuple) -> tuple[Any, list[Any]]:
    """Takes one step of the weight optimizer for the way to the best ones (DARTS, §2.3, Eqs. 7 and 8).

    With eta the current rate, m the momentum and g the gradient with its L2 term, the unrolled weights are
    w' = w - eta * (m * buffer + g). The gradient is d - eta * [grad_a L_train(w + R v) - grad_a L_train(w - R v)] / 2R,
    where d and v are the gradients of L_val(w') in the architecture and in w', and R = 1e-2 / ||v||.

    Neither weights, optimizer slots nor batch statistics change: everything is computed from tensors. Keras' velocity
    already is -eta * buffer.
    """
    network, optimizer = stage.network, stage.optimizer
    weights = [variable.value for variable in network.network_weights]
    architecture = [variable.value for variable in network.architecture_parameters]
    rate = tf.cast(optimizer.learning_rate, tf.float32)

    def loss(batch: tuple, at: list[Any]) -> Any:
        return stage.cross_entropy(batch[1], _logits_at(stage, batch[0], at, architecture))

    velocities = [velocity.value for velocity in optimizer.momentums] or [0.0] * len(
        weights
    )  # none without momentum
    _, slope = differentiate(lambda: loss(training, weights), weights)
    unrolled = [
        w + optimizer.momentum * velocity - rate * (g + stage.weight_decay * w)
        for w, velocity, g in zip(weights, velocities, slope, strict=True)
    ]
    result, found = differentiate(lambda: loss(validation, unrolled), [*architecture, *unrolled])
    direct, towards = found[: len(architecture)], found[len(architecture) :]
    step = PERTURBATION / tf.maximum(tf.linalg.global_norm(towards), 1e-12)

    @fixed(WEIGHTS)
    def at_distance(sign: float) -> list[Any]:
        moved = [w + sign * step * v for w, v in zip(weights, towards, strict=True)]
        return differentiate(lambda: loss(training, moved), architecture)[1]

    difference = zip(direct, at_distance(1.0), at_distance(-1.0), strict=True)
    return result, [d - rate * (ahead - behind) / (2.0 * step) for d, ahead, behind in difference]


def _logits_at(stage: Stage, images: Any, weights: list[Any], architecture: list[Any]) -> Any:
    """Returns the logits in training mode with other weights; nothing is assigned."""
    network = stage.network
    replaced = zip(
        [*network.network_weights, *network.architecture_parameters], [*weights, *architecture], strict=True
    )
    values = {id(variable): value for variable, value in replaced}
    trainable = [values.get(id(variable), variable.value) for variable in network.trainable_variables]
    fixed = [variable.value for variable in network.non_trainable_variables]
    return network.stateless_call(trainable, fixed, images, training=True)[0]


HYPERGRADIENTS = {
    "first_order": first_order,
    "second_order": second_order,
}
