"""Stage 2, mask search: which operations, edges and weights can go (paper §3.3, Algorithm 1, lines 6 to 10)."""

from __future__ import annotations

import keras

from hmnas_tf.stages.stage import Stage, apply, gradients


class MaskSearch(Stage):
    """Learns the real masks of the supernet, everything else frozen, on the whole training set.

    Batch normalizations use the batch's statistics, so that the loss is that of a network whose statistics fit its
    masks.

    Args:
        supernet: built and trained.
        weight_mask_optimizer: for `supernet.weight_masks`; the paper uses Adam (§4.2).
        architecture_mask_optimizer: for `supernet.architecture_masks`, with a lower rate.

    Input of `fit`: (images, labels).
    """

    def __init__(
        self,
        supernet: keras.Model,
        *,
        weight_mask_optimizer: keras.optimizers.Optimizer,
        architecture_mask_optimizer: keras.optimizers.Optimizer,
    ):
        super().__init__(supernet, name="mask_search")
        weight_mask_optimizer.build(supernet.weight_masks)
        architecture_mask_optimizer.build(supernet.architecture_masks)
        self.architecture_mask_optimizer = architecture_mask_optimizer
        self.compile(optimizer=weight_mask_optimizer, jit_compile=False)

    @property
    def optimizers(self):
        return [self.optimizer, self.architecture_mask_optimizer]

    def train_step(self, data):
        images, labels = data
        of_weights, of_architecture = self.network.weight_masks, self.network.architecture_masks
        loss, found, logits = gradients(
            lambda: self.loss_and_logits(images, labels), [*of_weights, *of_architecture]
        )
        apply(self.optimizer, found[: len(of_weights)], of_weights)
        apply(self.architecture_mask_optimizer, found[len(of_weights) :], of_architecture)
        return self.count(loss, labels, logits)
