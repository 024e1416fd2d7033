"""Depthwise 2-D convolutions, one a parallel edge, whose kernels are gated by learned binary masks."""

from __future__ import annotations

import keras

from hmnas_tf.layers import fused
from hmnas_tf.layers.masked_kernel import MaskedKernel, halved_shape


@keras.saving.register_keras_serializable(package="hmnas_tf")
class MaskedDepthwiseConv2D(MaskedKernel):
    """Masked depthwise convolutions with square kernels, padded by half of them on all sides.

    All edges that leave a node run side by side: their kernels are one variable, which keeps graphs small.

    Args:
        kernel_size: in pixels, odd.
        edges: parallel convolutions, each with a kernel of its own.
        strides: in both directions.
        dilation_rate: distance of the kernel's taps, in pixels; not together with strides.
        threshold: tau.

    Input: a list of one (which all edges read) or `edges` tensors [batch, height, width, channels].
    Output: a list of `edges` tensors [batch, ceil(height / strides), ceil(width / strides), channels].

    Raises:
        ValueError: if both strides and dilation are above 1.

    >>> conv = MaskedDepthwiseConv2D(3, edges=2)
    >>> conv.build((None, 8, 8, 4))
    >>> [y.shape for y in conv([keras.Input((8, 8, 4))])]
    [(None, 8, 8, 4), (None, 8, 8, 4)]
    """

    def __init__(
        self, kernel_size: int, *, edges: int = 1, strides: int = 1, dilation_rate: int = 1, **kwargs
    ):
        super().__init__(**kwargs)
        if strides > 1 and dilation_rate > 1:
            raise ValueError(
                f"strides={strides} together with dilation_rate={dilation_rate} pads differently from DARTS: "
                "sub-sample the input first and convolve it undilated."
            )
        self.kernel_size = kernel_size
        self.edges = edges
        self.strides = strides
        self.dilation_rate = dilation_rate

    def build(self, input_shape):
        _, height, width, channels = input_shape
        self.size = (height, width)
        shape = (self.edges, self.kernel_size, self.kernel_size, channels, 1)
        pixels = halved_shape(input_shape, self.strides)[1:3]
        # A filter sees kernel_size**2 inputs of its own channel.
        self._add_kernel(shape, self.kernel_size**2, pixels)

    def call(self, inputs):
        rate = self.dilation_rate
        parts = [fused.apart(x, rate) for x in inputs]  # each once, however many kernels read it
        results = [fused.depthwise(x, kernel, self.strides) for x, kernel in self.pair(parts)]
        return [fused.together(y, rate, self.size) for y in results]

    def get_config(self):
        return super().get_config() | {
            "kernel_size": self.kernel_size,
            "edges": self.edges,
            "strides": self.strides,
            "dilation_rate": self.dilation_rate,
        }
