"""Approximations of the gradient of the validation loss at the best weights, in alpha and beta (paper §3.2).

A hypergradient is a function of the stage, a training batch and a validation batch, each (images, labels) of one
replica; it returns the validation loss of this replica and the gradients, equal on all replicas.
"""

from __future__ import annotations

from typing import Any

from hmnas_tf.stages.stage import Stage, gradients


def first_order(stage: Stage, training: tuple, validation: tuple) -> tuple[Any, list[Any]]:
    """Takes the current weights for the best ones (DARTS, arXiv:1806.09055, xi = 0)."""
    parameters = stage.network.architecture_parameters
    loss, found, _ = gradients(lambda: stage.loss_and_logits(*validation), parameters)
    return loss, found


HYPERGRADIENTS = {
    "first_order": first_order,
}
