"""Dense 2-D convolutions, one a parallel edge, whose kernels are gated by learned binary masks."""

from __future__ import annotations

import keras

from hmnas_tf.layers import fused
from hmnas_tf.layers.masked_kernel import MaskedKernel, halved_shape


@keras.saving.register_keras_serializable(package="hmnas_tf")
class MaskedParallelConv2D(MaskedKernel):
    """Masked convolutions with square kernels over all channels, padded by half of them on all sides.

    Args:
        filters: output channels of each.
        kernel_size: in pixels, odd.
        edges: parallel convolutions, each with a kernel of its own.
        strides: in both directions.
        threshold: tau.

    Input: a list of one (which all edges read) or `edges` tensors [batch, height, width, channels].
    Output: a list of `edges` tensors [batch, ceil(height / strides), ceil(width / strides), filters].

    >>> conv = MaskedParallelConv2D(6, 3, edges=2, strides=2)
    >>> conv.build((None, 8, 8, 4))
    >>> [y.shape for y in conv([keras.Input((8, 8, 4))])]
    [(None, 4, 4, 6), (None, 4, 4, 6)]
    """

    def __init__(self, filters: int, kernel_size: int, *, edges: int = 1, strides: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.edges = edges
        self.strides = strides

    def build(self, input_shape):
        channels = input_shape[-1]
        shape = (self.edges, self.kernel_size, self.kernel_size, channels, self.filters)
        pixels = halved_shape(input_shape, self.strides)[1:3]
        self._add_kernel(shape, self.kernel_size**2 * channels, pixels)

    def call(self, inputs):
        return [fused.convolution(x, kernel, self.strides) for x, kernel in self.pair(inputs)]

    def get_config(self):
        return super().get_config() | {
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "edges": self.edges,
            "strides": self.strides,
        }
