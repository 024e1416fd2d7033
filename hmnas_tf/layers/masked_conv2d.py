"""A 2-D convolution whose kernel is gated by a learned binary mask."""

from __future__ import annotations

import keras
from keras import ops

from hmnas_tf.layers.masked_kernel import MaskedKernel, halved_shape


@keras.saving.register_keras_serializable(package="hmnas_tf")
class MaskedConv2D(MaskedKernel):
    """A masked convolution with a square kernel, padded by half of it on all sides.

    At stride 1 and odd sizes that is "same"; at stride 2 "same" would pad unevenly.

    Args:
        filters: output channels.
        kernel_size: in pixels, odd.
        strides: in both directions.
        threshold: tau.

    Input: [batch, height, width, channels]. Output: [batch, ceil(height / strides), ceil(width / strides), filters].

    >>> conv = MaskedConv2D(6, 3, strides=2)
    >>> conv(keras.Input((8, 8, 4))).shape
    (None, 4, 4, 6)
    >>> tuple(conv.real_mask.shape)
    (3, 3, 4, 6)
    """

    def __init__(self, filters: int, kernel_size: int, *, strides: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides

    def build(self, input_shape):
        channels = input_shape[-1]
        shape = (self.kernel_size, self.kernel_size, channels, self.filters)
        pixels = halved_shape(input_shape, self.strides)[1:3]
        self._add_kernel(shape, self.kernel_size**2 * channels, pixels)

    def call(self, inputs):
        around = [self.kernel_size // 2] * 2
        padded = ops.pad(inputs, [[0, 0], around, around, [0, 0]])
        return ops.conv(
            padded, self.masked_kernel(), strides=self.strides, padding="valid", data_format="channels_last"
        )

    def get_config(self):
        own = {"filters": self.filters, "kernel_size": self.kernel_size, "strides": self.strides}
        return super().get_config() | own
