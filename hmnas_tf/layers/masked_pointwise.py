"""1x1 convolutions, one a parallel edge, whose kernels are gated by learned binary masks."""

from __future__ import annotations

import keras

from hmnas_tf.layers import fused
from hmnas_tf.layers.masked_kernel import MaskedKernel


@keras.saving.register_keras_serializable(package="hmnas_tf")
class MaskedPointwise(MaskedKernel):
    """Masked 1x1 convolutions as matrix products.

    Args:
        filters: output channels of each.
        edges: parallel convolutions, each with a kernel of its own.
        threshold: tau.

    Input: a list of one (which all edges read) or `edges` tensors [batch, height, width, channels].
    Output: a list of `edges` tensors [batch, height, width, filters].

    >>> conv = MaskedPointwise(6, edges=2)
    >>> conv.build((None, 8, 8, 4))
    >>> [y.shape for y in conv([keras.Input((8, 8, 4))])]
    [(None, 8, 8, 6), (None, 8, 8, 6)]
    """

    def __init__(self, filters: int, *, edges: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.edges = edges

    def build(self, input_shape):
        _, height, width, channels = input_shape
        self._add_kernel((self.edges, channels, self.filters), channels, (height, width))

    def call(self, inputs):
        return [fused.pointwise(x, kernel) for x, kernel in self.pair(inputs)]

    def get_config(self):
        return super().get_config() | {"filters": self.filters, "edges": self.edges}
