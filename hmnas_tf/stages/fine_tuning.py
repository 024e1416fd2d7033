"""Stage 3, fine-tuning: the derived network goes on from the weights it inherited (§3.4, Algorithm 1, line 12)."""

from __future__ import annotations

import keras
import tensorflow as tf

from hmnas_tf.stages.stage import Stage, add_decay, apply, clip, gradients


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

    Input of `fit`: (images, labels).
    """

    def __init__(
        self,
        network: keras.Model,
        *,
        optimizer: keras.optimizers.Optimizer,
        weight_decay: float,
        gradient_clip: float,
    ):
        super().__init__(network, name="fine_tuning")
        self.weight_decay = weight_decay
        self.gradient_clip = gradient_clip
        convolutions = [layer for layer in network.layers if hasattr(layer, "kernel")]
        kernels = {id(layer.kernel): layer.kernel.numpy() != 0 for layer in convolutions}
        self.kept = [kernels.get(id(variable)) for variable in network.trainable_variables]
        optimizer.build(network.trainable_variables)
        self.compile(optimizer=optimizer, jit_compile=False)

    def train_step(self, data):
        images, labels = data
        weights = self.network.trainable_variables
        loss, found, logits = gradients(lambda: self.loss_and_logits(images, labels), weights)
        found = [
            gradient if kept is None or kept.all() else gradient * tf.constant(kept, gradient.dtype)
            for gradient, kept in zip(found, self.kept, strict=True)
        ]
        found = add_decay(clip(found, self.gradient_clip), weights, self.weight_decay)
        apply(self.optimizer, found, weights)
        return self.count(loss, labels, logits)
