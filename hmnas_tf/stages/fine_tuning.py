"""Stage 3, fine-tuning: the derived network goes on from the weights it inherited (§3.4, Algorithm 1, line 12)."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import tensorflow as tf

from hmnas_tf.stages.best_epoch import BestEpoch
from hmnas_tf.stages.distillation import Teacher
from hmnas_tf.stages.stage import Stage, add_decay, apply, clip, gradients, weighing
from hmnas_tf.stages.weight_average import WeightAverage, copy_values


@dataclasses.dataclass(frozen=True, kw_only=True)
class Regularization:
    """What DARTS adds when it trains a network (arXiv:1806.09055, §3.1.2); off by default (method: DECISION).

    Attributes:
        training_network: from images and gates [batch, edges] to logits and, maybe, auxiliary logits; it shares its
            layers with the network that is trained.
        drop_path: probability, at the end of training, that an edge is dropped for an image; it grows with the epoch.
        auxiliary_weight: of the auxiliary loss.
        steps_per_epoch: batches an epoch.
        epochs: of the stage.
        seed: of the gates.
    """

    training_network: keras.Model
    drop_path: float
    auxiliary_weight: float
    steps_per_epoch: int
    epochs: int
    seed: int

    def gates(self, batch: Any, step: Any) -> Any:
        """Returns a factor for each image and edge, [batch, edges]: 0 where it is dropped, else 1 / (1 - p).

        p = drop_path * epoch / epochs. The gates are a function of the step, and of the place of an image in the batch
        of all replicas, so that neither a restart nor another number of replicas changes them.

        Args:
            batch: images of this replica, each replica has as many.
            step: from 0.
        """
        replica = tf.distribute.get_replica_context()
        edges = self.training_network.inputs[1].shape[1]
        count = replica.num_replicas_in_sync
        drawn = tf.random.stateless_uniform([count, batch, edges], [self.seed, tf.cast(step, tf.int32)])
        rate = self.drop_path * tf.cast(step // self.steps_per_epoch, tf.float32) / self.epochs
        return tf.cast(drawn[replica.replica_id_in_sync_group] >= rate, tf.float32) / (1.0 - rate)


class FineTuning(Stage):
    """Trains the weights of the derived network; masked weights stay exactly 0.

    A weight is masked if it is 0 when the stage is made, which must be before a checkpoint is restored: derivation
    writes exact zeros where a mask was 0, and a learned weight is never exactly 0. Its gradient is set to 0, so
    neither momentum nor the L2 term can move it.

    Args:
        network: the derived network, of stock layers.
        optimizer: the paper names none for CIFAR-10; SGD as DARTS' evaluation (DECISION).
        weight_decay: L2 factor.
        gradient_clip: global norm; 0 is no clipping.
        regularization: drop path and auxiliary head, or None.
        teacher: whose probabilities are learned beside the labels, or None.
        weight_average: decay of the average of the network that is measured and kept; 0 is none.
        best: whether `finish` gives the network what it was after its best epoch, not after the last.
        patience: epochs without a better one that end the stage, with `best`; 0 is none.

    Input of `fit`: (images, labels).
    """

    def __init__(
        self,
        network: keras.Model,
        *,
        optimizer: keras.optimizers.Optimizer,
        weight_decay: float,
        gradient_clip: float,
        regularization: Regularization | None = None,
        teacher: Teacher | None = None,
        weight_average: float = 0.0,
        best: bool = False,
        patience: int = 0,
    ):
        super().__init__(network, name="fine_tuning")
        self.teacher = teacher
        self.regularization = regularization
        self.trained = regularization.training_network if regularization else network
        self.weight_decay = weight_decay
        self.gradient_clip = gradient_clip
        values = [variable.numpy() for variable in self.trained.trainable_variables]
        self.kept = [value != 0 if value.ndim > 1 else None for value in values]  # None: no kernel
        optimizer.build(self.trained.trainable_variables)
        self.average = WeightAverage(self, network.variables, weight_average) if weight_average else None
        self.best = BestEpoch(self, network.variables, patience) if best else None
        self.compile(optimizer=optimizer, jit_compile=False)

    @property
    def has_ended(self):
        return super().has_ended or (self.best is not None and self.best.has_ended)

    def measured(self):
        return self.average.shown() if self.average else super().measured()

    def see(self, epoch, error, loss):
        if self.best:
            self.best.see(epoch, error, loss)

    def finish(self) -> None:
        """Gives the network what is kept of this stage: the best epoch, or the average, or what it has."""
        if self.best:
            self.best.restore()
        elif self.average:
            copy_values(self.average.averages, self.average.variables)

    def loss_and_logits(self, images, labels):
        loss, logits = self._loss_and_logits(images, labels)
        if self.teacher:
            loss = self.teacher.added(loss, images, logits, weighing(labels, self.class_weights))
        return loss, logits

    def _loss_and_logits(self, images, labels):
        """Returns the loss of the labels, and the logits."""
        if not self.regularization:
            return super().loss_and_logits(images, labels)
        gates = self.regularization.gates(tf.shape(images)[0], self.optimizer.iterations.value)
        logits, *auxiliary = keras.tree.flatten(self.trained([images, gates], training=True))
        loss = self.cross_entropy(labels, logits)
        for other in auxiliary:
            loss += self.regularization.auxiliary_weight * self.cross_entropy(labels, other)
        return loss, logits

    def train_step(self, data):
        images, labels = data
        weights = self.trained.trainable_variables
        loss, found, logits = gradients(lambda: self.loss_and_logits(images, labels), weights)
        found = [
            gradient if kept is None or kept.all() else gradient * tf.constant(kept, gradient.dtype)
            for gradient, kept in zip(found, self.kept, strict=True)
        ]
        found = add_decay(clip(found, self.gradient_clip), weights, self.weight_decay)
        step = tf.convert_to_tensor(self.optimizer.iterations.value)
        apply(self.optimizer, found, weights)
        if self.average:
            self.average.update(step)
        return self.count(loss, labels, logits)
