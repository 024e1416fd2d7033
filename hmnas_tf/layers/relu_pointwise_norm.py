"""ReLU, 1x1 convolution, batch normalization: how a cell reads its inputs."""

from __future__ import annotations

import keras
from keras import ops

from hmnas_tf.layers import stock
from hmnas_tf.layers.batch_norm import BatchNorm
from hmnas_tf.layers.masked_pointwise import MaskedPointwise
from hmnas_tf.settings.paper import MASK_THRESHOLD


@keras.saving.register_keras_serializable(package="hmnas_tf")
class ReluPointwiseNorm(keras.layers.Layer):
    """ReLU, masked 1x1 convolution, batch normalization (DARTS' ReLUConvBN).

    Args:
        channels: output channels.
        affine: of the batch normalization.
        threshold: tau of the kernel's mask.

    Input: [batch, height, width, any], and `width`, which of the channels take part, [channels], None for all.
    Output: a list with one [batch, height, width, channels].

    >>> ReluPointwiseNorm(6)(keras.Input((8, 8, 4)))[0].shape
    (None, 8, 8, 6)
    """

    def __init__(self, channels: int, *, affine: bool = False, threshold: float = MASK_THRESHOLD, **kwargs):
        super().__init__(**kwargs)
        self.channels = channels
        self.affine = affine
        self.threshold = threshold
        self.pointwise = MaskedPointwise(channels, threshold=threshold, name="pointwise")
        self.batch_norm = BatchNorm(affine=affine, name="batch_norm")

    def build(self, input_shape):
        self.pointwise.build(input_shape)
        self.batch_norm.build((*input_shape[:-1], self.channels))

    def call(self, inputs, width=None, training=None):
        factors = None if width is None else [width]
        return self.batch_norm(self.pointwise([ops.relu(inputs)]), factors, training=training)

    def stock(self, x, name: str, *, inputs=None, channels=None):
        """Applies the same function in stock layers to a Keras tensor; `inputs`, `channels`: see `stock`."""
        x = keras.layers.ReLU(name=f"{name}_relu")(x)
        x = stock.pointwise(x, self.pointwise, f"{name}_pointwise", inputs=inputs, channels=channels)
        return stock.batch_normalization(x, self.batch_norm, f"{name}_bn", channels=channels)

    def get_config(self):
        own = {"channels": self.channels, "affine": self.affine, "threshold": self.threshold}
        return super().get_config() | own
