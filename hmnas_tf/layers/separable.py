"""Separable convolutions, dilated or applied twice (DARTS, arXiv:1806.09055, Appendix A.1.1)."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
from keras import ops

from hmnas_tf.layers import fused, stock
from hmnas_tf.layers.batch_norm import BatchNorm
from hmnas_tf.layers.edgewise import WIDTH, Values
from hmnas_tf.layers.learning import WEIGHTS, is_fixed
from hmnas_tf.layers.masked_depthwise_conv2d import MaskedDepthwiseConv2D
from hmnas_tf.layers.masked_kernel import halved_shape
from hmnas_tf.layers.masked_pointwise import MaskedPointwise
from hmnas_tf.layers.operation import DepthwiseOperation
from hmnas_tf.layers.source import Form

package = partial(keras.saving.register_keras_serializable, package="hmnas_tf")


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

    narrows = True

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
        self.depthwise.build(halved_shape(input_shape, self.subsampling))
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
    def kernels(self):
        return [self.depthwise, self.pointwise]

    @property
    def batch_norms(self):
        return [self.batch_norm]

    def term(self, forms, values, weight, training):
        (form,) = self.reads
        return self.convolve(forms[form], values, weight, training)

    def convolve(self, x: Any, values: Values, weight: Any, training: bool) -> tuple[Any, list]:
        """Does all but the ReLU and the sub-sampling of one edge."""

        depthwise, pointwise = values[self.depthwise], values[self.pointwise]
        strides, rate = self.depthwise.strides, self.depthwise.dilation_rate

        def convolved(x: Any) -> Any:
            x = fused.depthwise(x, depthwise, strides)
            x = x if rate == self.apart else fused.together(x, rate, self.depthwise.size)
            return fused.pointwise(x, pointwise)

        def transposed(x: Any, shape: Any) -> Any:
            x = fused.pointwise(x, pointwise, transposed=True)
            x = x if rate == self.apart else fused.apart(x, rate)
            return fused.depthwise_transposed(x, depthwise, strides, shape)

        y = (fused.linear(convolved, transposed) if is_fixed(WEIGHTS) else convolved)(x)
        return self.batch_norm.normalize(y, values[self.batch_norm], weight, training)

    def stock(self, x, name, edge, weight=1.0, channels=None):
        own = dict(edge=edge, channels=channels)
        x = stock.subsample(x, self.subsampling, f"{name}_subsample")
        x = keras.layers.ReLU(name=f"{name}_relu")(x)
        x = stock.depthwise_conv2d(x, self.depthwise, f"{name}_depthwise", **own)
        x = stock.pointwise(x, self.pointwise, f"{name}_pointwise", inputs=channels, **own)
        return stock.batch_normalization(x, self.batch_norm, f"{name}_bn", weight=weight, **own)

    def get_config(self):
        return super().get_config() | {"dilation_rate": self.dilation_rate}


@package()
class SeparableConvolution(DepthwiseOperation):
    """A separable convolution applied twice, the second time with stride 1."""

    narrows = True

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
    def kernels(self):
        return self.first.kernels + self.second.kernels

    @property
    def batch_norms(self):
        return self.first.batch_norms + self.second.batch_norms

    def term(self, forms, values, weight, training):
        between, before = self.first.term(forms, values, values[WIDTH], training)
        y, statistics = self.second.convolve(ops.relu(between), values, weight, training)
        return y, before + statistics

    def stock(self, x, name, edge, weight=1.0, channels=None):
        between = self.first.stock(x, f"{name}_1", edge, channels=channels)
        return self.second.stock(between, f"{name}_2", edge, weight, channels)
