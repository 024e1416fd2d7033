"""The candidate operations (paper §4.1; DARTS, arXiv:1806.09055, Appendix A.1.1).

An operation is a Keras layer made with `(channels, edges=..., strides=1 or 2, affine=..., threshold=...)`. It computes
the operation for all `edges` that leave one node, each with its own weights: from [batch, height, width, channels] and
the edges' mixing weights [edges] to a list of `edges` tensors weight * o(x), each
[batch, ceil(height / strides), ceil(width / strides), channels]. `stock` expresses one edge in stock Keras layers.
Adding an operation means adding its class and its line in `OPERATIONS`.

>>> OPERATIONS["max_pool_3x3"](4, edges=2, strides=2)(keras.Input((8, 8, 4)))[1].shape
(None, 4, 4, 4)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
from keras import ops

from hmnas_tf.layers import fused, stock
from hmnas_tf.layers.batch_norm import BatchNorm, factor_of
from hmnas_tf.layers.convolutions import Convolution, InvertedResidual, PointwiseConvolution
from hmnas_tf.layers.factorized_reduce import FactorizedReduce
from hmnas_tf.layers.operation import Operation
from hmnas_tf.layers.separable import SeparableConvolution, SeparableUnit
from hmnas_tf.layers.source import Source, subsample

package = partial(keras.saving.register_keras_serializable, package="hmnas_tf")


def weighted(x: Any, weights: Any, edges: int) -> list:
    """Returns weight * x for each edge."""
    return [x] * edges if weights is None else fused.combine([x], ops.expand_dims(weights, -1))


POOLS = {  # kind of pool: (tensor form, stock layer); both leave padded cells out
    "average": (ops.average_pool, keras.layers.AveragePooling2D),
    "max": (ops.max_pool, keras.layers.MaxPooling2D),
}


@package()
class Pool(Operation):
    """A 3x3 pool followed by batch normalization; it has no weights of its own, so all edges share it.

    It is taken at stride 1 and then sub-sampled, because "same" pads unevenly at stride 2.

    Args:
        kind: `max`, which pads with minus infinity, or `average`, which leaves padded cells out of the mean.
    """

    narrows = True

    def __init__(self, channels: int, *, kind: str, **kwargs):
        super().__init__(channels, **kwargs)
        self.kind = kind
        self.batch_norm = BatchNorm(
            affine=self.affine, edges=self.edges if self.affine else 1, name="batch_norm"
        )

    def build(self, input_shape):
        self.batch_norm.build(self.output_shape_for(input_shape), inputs=1)

    @property
    def batch_norms(self):
        return [self.batch_norm]

    def shared(self, source, training=None):
        return None if self.affine else self._normalized(source, None, training)[0]

    def read(self, source, weights=None, training=None):
        if self.affine:
            return self._normalized(source, weights, training)
        return weighted(self.shared(source, training), weights, self.edges)

    def _normalized(self, source: Source, weights: Any, training: bool | None) -> list:
        x = subsample(
            POOLS[self.kind][0](source.inputs, 3, strides=1, padding="same", data_format="channels_last"),
            self.strides,
        )
        factors = weights
        if source.width is not None:
            own = [None] * self.batch_norm.edges if weights is None else ops.unstack(weights, self.edges)
            factors = [factor_of(weight, source.width) for weight in own]
        results, statistics = self.batch_norm.results([x], factors, training)
        source.note(statistics)
        return results

    def stock(self, x, name, edge, weight=1.0, channels=None):
        x = self.stock_pool(x, name)
        own = dict(edge=edge, weight=weight, channels=channels)
        return stock.batch_normalization(x, self.batch_norm, f"{name}_bn", **own)

    def stock_pool(self, x: Any, name: str) -> Any:
        """Applies the pool in stock layers without its batch normalization."""
        x = POOLS[self.kind][1](
            3, strides=1, padding="same", data_format="channels_last", name=f"{name}_pool"
        )(x)
        return stock.subsample(x, self.strides, f"{name}_subsample")

    def get_config(self):
        return super().get_config() | {"kind": self.kind}


@package()
class Identity(Operation):
    """The input as it is; a factorized reduce at stride 2."""

    narrows = True

    def __init__(self, channels: int, **kwargs):
        super().__init__(channels, **kwargs)
        self.reduce = None
        if self.strides == 2:
            self.reduce = FactorizedReduce(
                channels, edges=self.edges, affine=self.affine, threshold=self.threshold, name="reduce"
            )

    def build(self, input_shape):
        if self.reduce is not None:
            self.reduce.build(input_shape)

    @property
    def reads(self):
        return () if self.reduce is None else self.reduce.reads

    @property
    def kernels(self):
        return [] if self.reduce is None else self.reduce.kernels

    @property
    def batch_norms(self):
        return [] if self.reduce is None else self.reduce.batch_norms

    def term(self, forms, values, weight, training):
        return self.reduce.term(forms, values, weight, training)

    def shared(self, source, training=None):
        return source.inputs if self.reduce is None else None

    def read(self, source, weights=None, training=None):
        if self.reduce is not None:
            return self.reduce.read(source, weights, training=training)
        return weighted(source.inputs, weights, self.edges)

    def stock(self, x, name, edge, weight=1.0, channels=None):
        if self.reduce is not None:
            return self.reduce.stock(x, name, edge=edge, inputs=channels, channels=channels, weight=weight)
        return stock.weighted(x, weight, name)


@package()
class Zero(Operation):
    """DARTS' `none`: zeros. HM-NAS does without, since its masks take an edge away."""

    narrows = True

    def call(self, inputs, weights=None, training=None):
        return [ops.zeros_like(subsample(inputs, self.strides))] * self.edges

    def stock(self, x, name, edge, weight=1.0, channels=None):
        x = stock.subsample(x, self.strides, f"{name}_subsample")
        return keras.layers.Rescaling(0.0, name=f"{name}_zero")(x)


OPERATIONS: dict[str, Callable[..., Operation]] = {
    "avg_pool_3x3": partial(Pool, kind="average"),
    "conv_1x1": PointwiseConvolution,
    "conv_3x3": Convolution,
    "dil_conv_3x3": partial(SeparableUnit, kernel_size=3, dilation_rate=2),
    "dil_conv_5x5": partial(SeparableUnit, kernel_size=5, dilation_rate=2),
    "identity": Identity,
    "max_pool_3x3": partial(Pool, kind="max"),
    "mbconv_3x3": partial(InvertedResidual, kernel_size=3),
    "mbconv_5x5": partial(InvertedResidual, kernel_size=5),
    "none": Zero,
    "sep_conv_3x3": partial(SeparableConvolution, kernel_size=3),
    "sep_conv_5x5": partial(SeparableConvolution, kernel_size=5),
}
