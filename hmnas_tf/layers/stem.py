"""The first layers of the network, before its cells."""

from __future__ import annotations

import keras
from keras import ops

from hmnas_tf.layers import stock
from hmnas_tf.layers.batch_norm import BatchNorm
from hmnas_tf.layers.masked_conv2d import MaskedConv2D
from hmnas_tf.layers.masked_kernel import halved_shape
from hmnas_tf.settings.paper import MASK_THRESHOLD


@keras.saving.register_keras_serializable(package="hmnas_tf")
class Stem(keras.layers.Layer):
    """A chain of 3x3 convolutions with batch normalization, ReLU between them (DARTS, Appendix A).

    Args:
        filters: output channels of each convolution.
        strides: 1 or 2, of all of them.
        activate_first: whether a ReLU comes before the first convolution.
        threshold: tau of the kernels' masks.

    Input: [batch, height, width, any]. Output: [batch, height', width', filters[-1]], padded evenly on all sides.

    >>> Stem((4, 8), strides=2)(keras.Input((8, 8, 3))).shape
    (None, 2, 2, 8)
    """

    def __init__(
        self,
        filters: tuple[int, ...],
        *,
        strides: int = 1,
        activate_first: bool = False,
        threshold: float = MASK_THRESHOLD,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.filters = tuple(filters)
        self.strides = strides
        self.activate_first = activate_first
        self.threshold = threshold
        self.convs = [
            MaskedConv2D(count, 3, strides=strides, threshold=threshold, name=f"conv_{i}")
            for i, count in enumerate(self.filters)
        ]
        self.batch_norms = [BatchNorm(affine=True, name=f"batch_norm_{i}") for i in range(len(self.filters))]

    def build(self, input_shape):
        shape = input_shape
        for conv, norm in zip(self.convs, self.batch_norms, strict=True):
            conv.build(shape)
            shape = (*halved_shape(shape, self.strides)[:-1], conv.filters)
            norm.build(shape)

    def output_shape_for(self, input_shape: tuple) -> tuple:
        """Returns the shape of the result."""
        for _ in self.convs:
            input_shape = halved_shape(input_shape, self.strides)
        return (*input_shape[:-1], self.filters[-1])

    def call(self, inputs, training=None):
        x = inputs
        for i, (conv, norm) in enumerate(zip(self.convs, self.batch_norms, strict=True)):
            if i or self.activate_first:
                x = ops.relu(x)
            (x,) = norm([conv(x)], training=training)
        return x

    def stock(self, x, name: str, *, inputs=None, channels=None):
        """Applies the same function in stock layers to a Keras tensor; `inputs`, `channels`: see `stock`."""
        last = len(self.convs) - 1
        for i, (conv, norm) in enumerate(zip(self.convs, self.batch_norms, strict=True)):
            if i or self.activate_first:
                x = keras.layers.ReLU(name=f"{name}_{i}_relu")(x)
            made = channels if i == last else None
            x = stock.conv2d(x, conv, f"{name}_{i}_conv", inputs=None if i else inputs, channels=made)
            x = stock.batch_normalization(x, norm, f"{name}_{i}_bn", channels=made)
        return x

    def get_config(self):
        return super().get_config() | {
            "filters": self.filters,
            "strides": self.strides,
            "activate_first": self.activate_first,
            "threshold": self.threshold,
        }
