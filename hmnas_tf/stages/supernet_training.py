"""Stage 1, supernet training: weights and architecture parameters in turn (paper §3.2, Algorithm 1, lines 1 to 5)."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hmnas_tf.layers.learning import MASKS, fixed
from hmnas_tf.stages.hypergradients import HYPERGRADIENTS
from hmnas_tf.stages.operation_gradients import OPERATION_GRADIENTS
from hmnas_tf.stages.stage import Stage, add_decay, apply, clip, gradients


class SupernetTraining(Stage):
    """Bilevel training: alpha and beta on one part of the training set, the weights on the other.

    Each step takes a batch of both parts. First, if the step's decision says so, Adam moves the architecture
    parameters to lower the loss of the validation batch; then SGD moves the weights on the training batch. L2 terms
    belong to the gradients; the weights' gradient is clipped before its L2 term is added, over all replicas together.

    Args:
        supernet: built; reads its masks, never changes them.
        weight_optimizer: for `supernet.network_weights`.
        architecture_optimizer: for `supernet.architecture_parameters`.
        decisions: bool[steps], see `update_schedules.decisions`.
        weight_decay: L2 factor of the weights.
        gradient_clip: global norm; 0 is no clipping.
        architecture_decay: L2 factor of the architecture parameters.
        architecture_gradient: name in `HYPERGRADIENTS`.
        operation_gradient: name in `OPERATION_GRADIENTS`.

    Input of `fit`: ((images, labels) to train the weights, (images, labels) to train the architecture).
    """

    def __init__(
        self,
        supernet: keras.Model,
        *,
        weight_optimizer: keras.optimizers.Optimizer,
        architecture_optimizer: keras.optimizers.Optimizer,
        decisions: np.ndarray,
        weight_decay: float,
        gradient_clip: float,
        architecture_decay: float,
        architecture_gradient: str = "first_order",
        operation_gradient: str = "mixed",
    ):
        super().__init__(supernet, name="supernet_training")
        self.decisions = np.asarray(decisions, bool)
        self.weight_decay = weight_decay
        self.gradient_clip = gradient_clip
        self.architecture_decay = architecture_decay
        self.hypergradient = HYPERGRADIENTS[architecture_gradient]
        self.scaled = OPERATION_GRADIENTS[operation_gradient]
        self.architecture_loss = keras.metrics.Mean("architecture_loss")
        self.architecture_steps = keras.metrics.Sum("architecture_steps")
        weight_optimizer.build(supernet.network_weights)
        architecture_optimizer.build(supernet.architecture_parameters)
        self.architecture_optimizer = architecture_optimizer
        self.compile(optimizer=weight_optimizer, jit_compile=False)

    @property
    def optimizers(self):
        return [self.optimizer, self.architecture_optimizer]

    @property
    def metrics(self):
        return [*super().metrics, self.architecture_loss, self.architecture_steps]

    def train_step(self, data):
        training, validation = data

        def decide(strategy, *batches):
            # Outside the replicas there is one decision for all of them, and a step not taken costs nothing.
            decision = tf.gather(tf.constant(self.decisions), self._step())
            tf.cond(decision, lambda: strategy.run(self._architecture_step, args=batches), lambda: None)

        replica = tf.distribute.get_replica_context()
        replica.merge_call(decide, args=(*training, *validation))
        return self._weight_step(*training)

    def _step(self) -> Any:
        return tf.minimum(tf.cast(self.optimizer.iterations.value, tf.int32), len(self.decisions) - 1)

    @fixed(MASKS)
    def _architecture_step(self, images, labels, validation_images, validation_labels) -> None:
        parameters = self.network.architecture_parameters
        loss, found = self.hypergradient(self, (images, labels), (validation_images, validation_labels))
        found = add_decay(found, parameters, self.architecture_decay)
        apply(self.architecture_optimizer, found, parameters)
        self.architecture_loss.update_state(loss)
        self.architecture_steps.update_state(1.0 / tf.distribute.get_strategy().num_replicas_in_sync)

    @fixed(MASKS)
    def _weight_step(self, images, labels) -> dict[str, Any]:
        weights = self.network.network_weights
        loss, found, logits = gradients(lambda: self.loss_and_logits(images, labels), weights)
        found = self.scaled(self.network, clip(found, self.gradient_clip))
        found = add_decay(found, weights, self.weight_decay)
        apply(self.optimizer, found, weights)
        return self.count(loss, labels, logits)
