"""ReLU, 1x1 convolution, batch normalization: how a cell reads its inputs."""

from __future__ import annotations

import keras
from keras import ops

from hmnas_tf.layers import stock
from hmnas_tf.layers.batch_norm import BatchNorm
from hmnas_tf.layers.masked_kernel import halved_shape
from hmnas_tf.layers.masked_pointwise import MaskedPointwise
from hmnas_tf.settings.paper import MASK_THRESHOLD

POOL = dict(pool_size=3, padding="same", data_format="channels_last")  # what halves


@keras.saving.register_keras_serializable(package="hmnas_tf")
class ReluPointwiseNorm(keras.layers.Layer):
    """ReLU, masked 1x1 convolution, batch normalization (DARTS' ReLUConvBN); at stride 2 a 3x3 max pool before them.

    With the pool (DECISION) every pixel is read, of which a factorized reduce reads half, for the same parameters and
    multiply-adds.

    Args:
        channels: output channels.
        strides: 1, or 2 to halve the resolution.
        affine: of the batch normalization.
        threshold: tau of the kernel's mask.

    Input: [batch, height, width, any], and `width`, which of the channels take part, [channels], None for all.
    Output: a list with one [batch, ceil(height / strides), ceil(width / strides), channels].

    >>> ReluPointwiseNorm(6)(keras.Input((8, 8, 4)))[0].shape
    (None, 8, 8, 6)
    """

    def __init__(
        self,
        channels: int,
        *,
        strides: int = 1,
        affine: bool = False,
        threshold: float = MASK_THRESHOLD,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.channels = channels
        self.strides = strides
        self.affine = affine
        self.threshold = threshold
        self.pointwise = MaskedPointwise(channels, threshold=threshold, name="pointwise")
        self.batch_norm = BatchNorm(affine=affine, name="batch_norm")

    def build(self, input_shape):
        pooled = halved_shape(input_shape, self.strides)
        self.pointwise.build(pooled)
        self.batch_norm.build((*pooled[:-1], self.channels))

    def call(self, inputs, width=None, training=None):
        factors = None if width is None else [width]
        if self.strides > 1:
            inputs = ops.max_pool(inputs, strides=self.strides, **POOL)
        return self.batch_norm(self.pointwise([ops.relu(inputs)]), factors, training=training)

    def stock(self, x, name: str, *, inputs=None, channels=None):
        """Applies the same function in stock layers to a Keras tensor; `inputs`, `channels`: see `stock`."""
        if self.strides > 1:
            x = keras.layers.MaxPooling2D(strides=self.strides, **POOL, name=f"{name}_pool")(x)
        x = keras.layers.ReLU(name=f"{name}_relu")(x)
        x = stock.pointwise(x, self.pointwise, f"{name}_pointwise", inputs=inputs, channels=channels)
        return stock.batch_normalization(x, self.batch_norm, f"{name}_bn", channels=channels)

    def get_config(self):
        return super().get_config() | {
            "channels": self.channels,
            "strides": self.strides,
            "affine": self.affine,
            "threshold": self.threshold,
        }
