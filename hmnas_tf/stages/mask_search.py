"""Stage 2, mask search: which operations, edges and weights can go (paper §3.3, Algorithm 1, lines 6 to 10)."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from hmnas_tf.layers.activity import ACTIVE
from hmnas_tf.stages.budgets import Pressure
from hmnas_tf.stages.operation_gradients import OPERATION_GRADIENTS
from hmnas_tf.stages.stage import Stage, add_decay, apply, clip, gradients


class MaskSearch(Stage):
    """Learns the real masks of the supernet on the whole training set; everything else is frozen, as in the paper.

    Batch normalizations use the batch's statistics, so that the loss is that of a network whose statistics fit its
    masks.

    Args:
        supernet: built and trained.
        weight_mask_optimizer: for `supernet.weight_masks`; the paper uses Adam (§4.2).
        architecture_mask_optimizer: for `supernet.architecture_masks`, with a lower rate.
        operation_price: training loss, in nats, that an operation of an edge must save to stay (DECISION). The loss of
            the supernet plus this price times the number of surviving operations is minimised; 0 is the paper's, which
            removes only what does harm, and in a supernet trained for a short time next to nothing does.
        pressure: of budgets; then channels are searched too, slower than operations and edges.
        weight_optimizer: for `supernet.network_weights`, which then follow the masks; None freezes them.
        weight_decay: L2 factor of the weights.
        gradient_clip: global norm of the weights' gradient; 0 is no clipping.
        operation_gradient: name in `OPERATION_GRADIENTS`, of the weights.

    Input of `fit`: (images, labels).
    """

    def __init__(
        self,
        supernet: keras.Model,
        *,
        weight_mask_optimizer: keras.optimizers.Optimizer,
        architecture_mask_optimizer: keras.optimizers.Optimizer,
        operation_price: float = 0.0,
        pressure: Pressure | None = None,
        weight_optimizer: keras.optimizers.Optimizer | None = None,
        weight_decay: float = 0.0,
        gradient_clip: float = 0.0,
        operation_gradient: str = "mixed",
    ):
        super().__init__(supernet, name="mask_search")
        self.weight_optimizer = weight_optimizer
        if weight_optimizer:
            weight_optimizer.build(supernet.network_weights)
        self.weight_decay = weight_decay
        self.gradient_clip = gradient_clip
        self.scaled = OPERATION_GRADIENTS[operation_gradient]
        weight_mask_optimizer.build(supernet.weight_masks)
        architecture_mask_optimizer.build(supernet.architecture_masks + supernet.width_masks)
        self.pressure = pressure
        self.architecture_mask_optimizer = architecture_mask_optimizer
        self.operation_price = operation_price
        self.activities = [  # variables, because a resumed run must sum up in the same order: see `shrinking`
            self.add_weight(
                shape=encoding.operation_mask.shape,
                initializer=keras.initializers.Constant(ACTIVE),
                dtype="int32",
                trainable=False,
                name=f"activity_{group}",
            )
            for group, encoding in enumerate(supernet.encodings)
        ]
        self.compile(optimizer=weight_mask_optimizer, jit_compile=False)

    @property
    def optimizers(self):
        return [self.optimizer, self.architecture_mask_optimizer, *filter(None, [self.weight_optimizer])]

    def tables(self) -> list[np.ndarray]:
        """Returns the activity of the operations of each encoding, [edges, operations]: what training computes."""
        return [np.array(keras.ops.convert_to_numpy(variable)) for variable in self.activities]

    def build_again(self, tables: Sequence[np.ndarray]) -> None:
        """Lets the graph of the next step be built of what `tables` say; see `Supernet.set_activity`."""
        for variable, table in zip(self.activities, tables, strict=True):
            variable.assign(table)
        self.network.set_activity(tables)
        self.make_train_function(force=True)

    def train_step(self, data):
        images, labels = data
        of_weights = self.network.weight_masks
        of_architecture = self.network.architecture_masks + self.network.width_masks
        weights = self.network.network_weights if self.weight_optimizer else []
        step, pressure = tf.convert_to_tensor(self.optimizer.iterations.value), self.pressure

        def priced() -> tuple:
            loss, logits = self.loss_and_logits(images, labels)
            operations = tf.add_n([tf.reduce_sum(encoding.gates()) for encoding in self.network.encodings])
            total, excess = loss + self.operation_price * operations, None
            if pressure is not None:
                costs, excess = pressure.excess(step)
                total += pressure.added(costs, excess)
            return total, (loss, logits, excess)

        before = [] if pressure is None else pressure.states()
        _, found, (loss, logits, excess) = gradients(priced, [*of_weights, *of_architecture, *weights])
        masks = len(of_weights) + len(of_architecture)
        apply(self.optimizer, found[: len(of_weights)], of_weights)
        apply(self.architecture_mask_optimizer, found[len(of_weights) : masks], of_architecture)
        if self.weight_optimizer:
            moved = self.scaled(self.network, clip(found[masks:], self.gradient_clip))
            apply(self.weight_optimizer, add_decay(moved, weights, self.weight_decay), weights)
        if pressure is not None:
            pressure.learn(excess)
            pressure.settle(before, step)
        return self.count(loss, labels, logits)
