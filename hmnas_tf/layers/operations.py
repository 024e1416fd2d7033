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
from hmnas_tf.layers.batch_norm import BatchNorm
from hmnas_tf.layers.factorized_reduce import FactorizedReduce
from hmnas_tf.layers.masked_depthwise_conv2d import MaskedDepthwiseConv2D
from hmnas_tf.layers.masked_kernel import halved
from hmnas_tf.layers.masked_pointwise import MaskedPointwise
from hmnas_tf.layers.operation import DepthwiseOperation, Operation
from hmnas_tf.layers.source import Form, Source, subsample

package = partial(keras.saving.register_keras_serializable, package="hmnas_tf")


def weighted(x: Any, weights: Any, edges: int) -> list:
    """Returns weight * x for each edge."""
    return [x] * edges if weights is None else fused.combine([x], weights[:, None])


@package()
class SeparableUnit(DepthwiseOperation):
    """ReLU, depthwise convolution, 1x1 convolution, batch normalization.

    Args:
        dilation_rate: of the depthwise convolution. With strides 2 it must be even: then only every second pixel is
            read, so the input is sub-sampled and the dilation halved, which is exactly the same function, four times
            cheaper.

    Raises:
        ValueError: if an odd dilation above 1 comes with strides 2.
    """

    def __init__(self, channels: int, *, dilation_rate: int = 1, **kwargs):
        super().__init__(channels, **kwargs)
        if self.strides == 2 and dilation_rate > 1 and dilation_rate % 2:
            raise ValueError(
                f"dilation_rate={dilation_rate} with strides=2 must be even: every second pixel is read."
            )
        self.dilation_rate = dilation_rate
        self.subsampling = self.strides if dilation_rate > 1 else 1
        stack = dict(edges=self.edges, threshold=self.threshold)
        self.depthwise = MaskedDepthwiseConv2D(
            self.kernel_size,
            strides=self.strides // self.subsampling,
            dilation_rate=dilation_rate // self.subsampling,
            name="depthwise",
            **stack,
        )
        self.pointwise = MaskedPointwise(channels, name="pointwise", **stack)
        self.batch_norm = BatchNorm(affine=self.affine, edges=self.edges, name="batch_norm")

    def build(self, input_shape):
        batch, height, width, channels = input_shape
        sampled = (batch, halved(height, self.subsampling), halved(width, self.subsampling), channels)
        self.depthwise.build(sampled)
        outputs = self.output_shape_for(input_shape)
        self.pointwise.build(outputs)
        self.batch_norm.build(outputs)

    @property
    def reads(self):
        return (Form("even" if self.subsampling == 2 else "relu", self.depthwise.dilation_rate),)

    @property
    def apart(self):
        # What follows the convolution treats pixels alike, so its result can stay apart where no border was added.
        rate = self.depthwise.dilation_rate
        return 1 if any(size % rate for size in self.depthwise.size) else rate

    @property
    def batch_norms(self):
        return [self.batch_norm]

    def values(self, weights, training):
        return {
            "depthwise": self.depthwise.masked_kernel(),
            "pointwise": self.pointwise.masked_kernel(),
            "batch_norm": self.batch_norm.values(weights, training),
        }

    def term(self, forms, values, training):
        (form,) = self.reads
        return self.convolve(forms[form], values, training)

    def convolve(self, x: Any, values: dict[str, Any], training: bool) -> tuple[Any, list]:
        """Does all but the ReLU and the sub-sampling of one edge."""
        x = fused.depthwise(x, values["depthwise"], self.depthwise.strides)
        if self.depthwise.dilation_rate != self.apart:
            x = fused.together(x, self.depthwise.dilation_rate, self.depthwise.size)
        return self.batch_norm.normalize(
            fused.pointwise(x, values["pointwise"]), values["batch_norm"], training
        )

    def stock(self, x, name, edge, weight=1.0):
        x = stock.subsample(x, self.subsampling, f"{name}_subsample")
        x = keras.layers.ReLU(name=f"{name}_relu")(x)
        x = stock.depthwise_conv2d(x, self.depthwise, f"{name}_depthwise", edge=edge)
        x = stock.pointwise(x, self.pointwise, f"{name}_pointwise", edge=edge)
        return stock.batch_normalization(x, self.batch_norm, f"{name}_bn", edge=edge, weight=weight)

    def get_config(self):
        return super().get_config() | {"dilation_rate": self.dilation_rate}


@package()
class SeparableConvolution(DepthwiseOperation):
    """A separable convolution applied twice, the second time with stride 1."""

    def __init__(self, channels: int, **kwargs):
        super().__init__(channels, **kwargs)
        settings = dict(
            kernel_size=self.kernel_size, edges=self.edges, affine=self.affine, threshold=self.threshold
        )
        self.first = SeparableUnit(channels, strides=self.strides, name="first", **settings)
        self.second = SeparableUnit(channels, name="second", **settings)

    def build(self, input_shape):
        self.first.build(input_shape)
        self.second.build(self.first.output_shape_for(input_shape))

    @property
    def reads(self):
        return self.first.reads

    @property
    def batch_norms(self):
        return [self.first.batch_norm, self.second.batch_norm]

    def values(self, weights, training):
        return {"first": self.first.values(None, training), "second": self.second.values(weights, training)}

    def term(self, forms, values, training):
        between, before = self.first.term(forms, values["first"], training)
        y, statistics = self.second.convolve(ops.relu(between), values["second"], training)
        return y, before + statistics

    def stock(self, x, name, edge, weight=1.0):
        return self.second.stock(self.first.stock(x, f"{name}_1", edge), f"{name}_2", edge, weight)


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

    def __init__(self, channels: int, *, kind: str, **kwargs):
        super().__init__(channels, **kwargs)
        self.kind = kind
        self.batch_norm = BatchNorm(
            affine=self.affine, edges=self.edges if self.affine else 1, name="batch_norm"
        )

    def build(self, input_shape):
        self.batch_norm.build(self.output_shape_for(input_shape), inputs=1)

    def shared(self, source, training=None):
        return None if self.affine else self._normalized(source, None, training)[0]

    def read(self, source, weights=None, training=None):
        if self.affine:
            return self._normalized(source, weights, training)
        return weighted(self.shared(source, training), weights, self.edges)

    def _normalized(self, source: Source, weights: Any, training: bool | None) -> list:
        x = subsample(POOLS[self.kind][0](source.inputs, 3, strides=1, padding="same"), self.strides)
        return self.batch_norm.call([x], weights, training=training)

    def stock(self, x, name, edge, weight=1.0):
        x = self.stock_pool(x, name)
        return stock.batch_normalization(x, self.batch_norm, f"{name}_bn", edge=edge, weight=weight)

    def stock_pool(self, x: Any, name: str) -> Any:
        """Applies the pool in stock layers without its batch normalization."""
        x = POOLS[self.kind][1](3, strides=1, padding="same", name=f"{name}_pool")(x)
        return stock.subsample(x, self.strides, f"{name}_subsample")

    def get_config(self):
        return super().get_config() | {"kind": self.kind}


@package()
class Identity(Operation):
    """The input as it is; a factorized reduce at stride 2."""

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
    def batch_norms(self):
        return [] if self.reduce is None else self.reduce.batch_norms

    def values(self, weights, training):
        return self.reduce.values(weights, training)

    def term(self, forms, values, training):
        return self.reduce.term(forms, values, training)

    def shared(self, source, training=None):
        return source.inputs if self.reduce is None else None

    def read(self, source, weights=None, training=None):
        if self.reduce is not None:
            return self.reduce.read(source, weights, training=training)
        return weighted(source.inputs, weights, self.edges)

    def stock(self, x, name, edge, weight=1.0):
        if self.reduce is not None:
            return self.reduce.stock(x, name, edge=edge, weight=weight)
        return stock.weighted(x, weight, name)


@package()
class Zero(Operation):
    """DARTS' `none`: zeros. HM-NAS does without, since its masks take an edge away."""

    def call(self, inputs, weights=None, training=None):
        return [ops.zeros_like(subsample(inputs, self.strides))] * self.edges

    def stock(self, x, name, edge, weight=1.0):
        x = stock.subsample(x, self.strides, f"{name}_subsample")
        return keras.layers.Rescaling(0.0, name=f"{name}_zero")(x)


OPERATIONS: dict[str, Callable[..., Operation]] = {
    "avg_pool_3x3": partial(Pool, kind="average"),
    "dil_conv_3x3": partial(SeparableUnit, kernel_size=3, dilation_rate=2),
    "dil_conv_5x5": partial(SeparableUnit, kernel_size=5, dilation_rate=2),
    "identity": Identity,
    "max_pool_3x3": partial(Pool, kind="max"),
    "none": Zero,
    "sep_conv_3x3": partial(SeparableConvolution, kernel_size=3),
    "sep_conv_5x5": partial(SeparableConvolution, kernel_size=5),
}
