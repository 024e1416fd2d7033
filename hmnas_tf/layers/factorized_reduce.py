"""Halving the resolution without losing pixels (DARTS' FactorizedReduce)."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from hmnas_tf.layers import fused, stock
from hmnas_tf.layers.batch_norm import BatchNorm
from hmnas_tf.layers.edgewise import EdgeSum, Values, each_edge
from hmnas_tf.layers.masked_kernel import MaskedKernel, halved_shape
from hmnas_tf.layers.masked_pointwise import MaskedPointwise
from hmnas_tf.layers.source import Form, Source
from hmnas_tf.settings.paper import MASK_THRESHOLD


@keras.saving.register_keras_serializable(package="hmnas_tf")
class FactorizedReduce(keras.layers.Layer):
    """ReLU, two 1x1 convolutions of stride 2 to half the channels each, concatenation, batch normalization.

    The second convolution reads the input shifted by one pixel in both axes. Odd sizes are padded by one zero row and
    column at the end for it; DARTS cannot take them.

    Args:
        channels: output channels, 2 or more; of an odd number the first convolution makes one more.
        edges: parallel reductions of the same input.
        affine: of the batch normalization.
        threshold: tau of the kernels' masks.

    Inputs: [batch, height, width, any], and factors [edges] of the results or None.
    Output: a list of `edges` tensors [batch, ceil(height / 2), ceil(width / 2), channels].

    Raises:
        ValueError: if `channels` is below 2.

    >>> FactorizedReduce(6, edges=2)(keras.Input((8, 8, 4)))[1].shape
    (None, 4, 4, 6)
    """

    reads, apart = (Form("even"), Form("odd")), 1

    def __init__(
        self,
        channels: int,
        *,
        edges: int = 1,
        affine: bool = False,
        threshold: float = MASK_THRESHOLD,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if channels < 2:
            raise ValueError(
                f"channels={channels} must be at least 2: each of two convolutions makes some of them."
            )
        self.channels = channels
        self.edges = edges
        self.affine = affine
        self.threshold = threshold
        self.even, self.odd = (
            MaskedPointwise(filters, edges=edges, threshold=threshold, name=name)
            for name, filters in (("even", channels - channels // 2), ("odd", channels // 2))
        )
        self.batch_norm = BatchNorm(affine=affine, edges=edges, name="batch_norm")

    def build(self, input_shape):
        _, height, width, _ = input_shape
        self._pads = (height % 2, width % 2)
        half = halved_shape(input_shape, 2)
        self.even.build(half)
        self.odd.build(half)
        self.batch_norm.build((*half[:3], self.channels))

    def call(self, inputs, factors=None, width=None, training=None):
        with Source(inputs, width=width) as source:
            return self.read(source, factors, training=training)

    def read(self, source: Source, factors=None, training=None) -> list:
        """Does what `call` does, from a source that others read too."""
        factors = None if factors is None else ops.expand_dims(factors, -1)
        return each_edge(EdgeSum([self]), source, factors, training)

    @property
    def kernels(self) -> list[MaskedKernel]:
        """Both convolutions, see `Edgewise`."""
        return [self.even, self.odd]

    @property
    def batch_norms(self) -> list[BatchNorm]:
        """The batch normalization, in a list as other layers have several."""
        return [self.batch_norm]

    def term(self, forms: dict[Form, Any], values: Values, weight: Any, training: bool) -> tuple[Any, list]:
        """Computes one edge, see `Edgewise`."""
        pairs = zip(self.reads, self.kernels, strict=True)
        y = ops.concatenate([fused.pointwise(forms[form], values[k]) for form, k in pairs], axis=-1)
        return self.batch_norm.normalize(y, values[self.batch_norm], weight, training)

    def stock(self, x, name: str, *, edge: int = 0, inputs=None, channels=None, weight: float = 1.0):
        """Applies `weight` times the function of one edge in stock layers; `inputs`, `channels`: see `stock`."""
        made = np.arange(self.channels) if channels is None else channels
        of_even, of_odd = made[made < self.even.filters], made[made >= self.even.filters] - self.even.filters
        x = keras.layers.ReLU(name=f"{name}_relu")(x)
        shifted = x
        if any(self._pads):
            pads = tuple((0, pad) for pad in self._pads)
            shifted = keras.layers.ZeroPadding2D(pads, data_format="channels_last", name=f"{name}_pad")(
                shifted
            )
        shifted = keras.layers.Cropping2D(
            ((1, 0), (1, 0)), data_format="channels_last", name=f"{name}_shift"
        )(shifted)
        settings = dict(edge=edge, inputs=inputs, strides=2)
        halves = [
            stock.pointwise(pixels, convolution, f"{name}_{convolution.name}", channels=own, **settings)
            for pixels, convolution, own in ((x, self.even, of_even), (shifted, self.odd, of_odd))
            if len(own)
        ]
        y = keras.layers.Concatenate(name=f"{name}_concat")(halves) if len(halves) > 1 else halves[0]
        return stock.batch_normalization(
            y, self.batch_norm, f"{name}_bn", edge=edge, weight=weight, channels=channels
        )

    def get_config(self):
        return super().get_config() | {
            "channels": self.channels,
            "edges": self.edges,
            "affine": self.affine,
            "threshold": self.threshold,
        }
