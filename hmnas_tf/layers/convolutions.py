"""What people write by hand: dense convolutions, and MobileNetV2's inverted residual (arXiv:1801.04381, Table 1).

The paper's space has none of them (DECISION): they are there for those who want what processors are fastest at.
"""

from __future__ import annotations

import itertools
from functools import partial

import keras
import numpy as np
from keras import ops

from hmnas_tf.layers import fused, stock
from hmnas_tf.layers.batch_norm import BatchNorm
from hmnas_tf.layers.edgewise import WIDTH
from hmnas_tf.layers.masked_depthwise_conv2d import MaskedDepthwiseConv2D
from hmnas_tf.layers.masked_pointwise import MaskedPointwise
from hmnas_tf.layers.operation import DepthwiseOperation, Operation
from hmnas_tf.layers.parallel_conv2d import MaskedParallelConv2D
from hmnas_tf.layers.source import Form

package = partial(keras.saving.register_keras_serializable, package="hmnas_tf")
EXPANSION = 3  # channels inside an inverted residual for each outside


@package()
class Convolution(Operation):
    """ReLU, 3x3 convolution, batch normalization."""

    narrows = True
    kernel_size = 3
    reads = (Form("relu"),)

    def __init__(self, channels: int, **kwargs):
        super().__init__(channels, **kwargs)
        self.convolution = MaskedParallelConv2D(
            channels,
            self.kernel_size,
            edges=self.edges,
            strides=self.strides,
            threshold=self.threshold,
            name="convolution",
        )
        self.batch_norm = BatchNorm(affine=self.affine, edges=self.edges, name="batch_norm")

    def build(self, input_shape):
        self.convolution.build(input_shape)
        self.batch_norm.build(self.output_shape_for(input_shape))

    @property
    def kernels(self):
        return [self.convolution]

    @property
    def batch_norms(self):
        return [self.batch_norm]

    def term(self, forms, values, weight, training):
        y = fused.convolution(forms[self.reads[0]], values[self.convolution], self.strides)
        return self.batch_norm.normalize(y, values[self.batch_norm], weight, training)

    def stock(self, x, name, edge, weight=1.0, channels=None):
        own = dict(edge=edge, channels=channels)
        x = keras.layers.ReLU(name=f"{name}_relu")(x)
        x = stock.parallel_conv2d(x, self.convolution, f"{name}_conv", inputs=channels, **own)
        return stock.batch_normalization(x, self.batch_norm, f"{name}_bn", weight=weight, **own)


@package()
class PointwiseConvolution(Operation):
    """ReLU, 1x1 convolution, batch normalization; at stride 2 of every second pixel."""

    narrows = True

    def __init__(self, channels: int, **kwargs):
        super().__init__(channels, **kwargs)
        self.pointwise = MaskedPointwise(
            channels, edges=self.edges, threshold=self.threshold, name="pointwise"
        )
        self.batch_norm = BatchNorm(affine=self.affine, edges=self.edges, name="batch_norm")

    def build(self, input_shape):
        outputs = self.output_shape_for(input_shape)
        self.pointwise.build((*outputs[:3], input_shape[-1]))
        self.batch_norm.build(outputs)

    @property
    def reads(self):
        return (Form("even" if self.strides == 2 else "relu"),)

    @property
    def kernels(self):
        return [self.pointwise]

    @property
    def batch_norms(self):
        return [self.batch_norm]

    def term(self, forms, values, weight, training):
        y = fused.pointwise(forms[self.reads[0]], values[self.pointwise])
        return self.batch_norm.normalize(y, values[self.batch_norm], weight, training)

    def stock(self, x, name, edge, weight=1.0, channels=None):
        own = dict(edge=edge, channels=channels)
        x = keras.layers.ReLU(name=f"{name}_relu")(x)
        x = stock.pointwise(
            x, self.pointwise, f"{name}_pointwise", inputs=channels, strides=self.strides, **own
        )
        return stock.batch_normalization(x, self.batch_norm, f"{name}_bn", weight=weight, **own)


@package()
class InvertedResidual(DepthwiseOperation):
    """1x1 convolution to `EXPANSION` times the channels, depthwise convolution, 1x1 convolution back, without a sum.

    Each has a batch normalization, the first two a ReLU. What MobileNetV2 adds to it is an identity of the same edge.
    Where a cell has fewer channels, by its width mask, there are fewer inside, too.
    """

    narrows = True
    reads = (Form("inputs"),)

    def __init__(self, channels: int, **kwargs):
        super().__init__(channels, **kwargs)
        stack = dict(edges=self.edges, threshold=self.threshold)
        self.expand = MaskedPointwise(EXPANSION * channels, name="expand", **stack)
        self.depthwise = MaskedDepthwiseConv2D(
            self.kernel_size, strides=self.strides, name="depthwise", **stack
        )
        self.project = MaskedPointwise(channels, name="project", **stack)
        self.norms = [
            BatchNorm(affine=self.affine, edges=self.edges, name=f"{convolution.name}_norm")
            for convolution in self.kernels
        ]

    def build(self, input_shape):
        inside = (*input_shape[:3], EXPANSION * self.channels)
        shapes = (input_shape, inside, self.output_shape_for(inside), self.output_shape_for(input_shape))
        for convolution, norm, (read, made) in zip(
            self.kernels, self.norms, itertools.pairwise(shapes), strict=True
        ):
            convolution.build(read)
            norm.build(made)

    @property
    def kernels(self):
        return [self.expand, self.depthwise, self.project]

    @property
    def batch_norms(self):
        return self.norms

    def term(self, forms, values, weight, training):
        width = values[WIDTH]
        inside = None if width is None else ops.concatenate([width] * EXPANSION)
        kernels, statistics = [values[kernel] for kernel in self.kernels], []

        def normalized(x, norm, factor):
            y, found = norm.normalize(x, values[norm], factor, training)
            statistics.extend(found)
            return y

        expand, depthwise, project = self.norms
        x = ops.relu(normalized(fused.pointwise(forms[self.reads[0]], kernels[0]), expand, inside))
        x = ops.relu(normalized(fused.depthwise(x, kernels[1], self.strides), depthwise, inside))
        return normalized(fused.pointwise(x, kernels[2]), project, weight), statistics

    def stock(self, x, name, edge, weight=1.0, channels=None):
        inside = channels
        if channels is not None:
            inside = np.concatenate([repeat * self.channels + channels for repeat in range(EXPANSION)])
        expand, depthwise, project = self.norms
        own = dict(edge=edge, channels=inside)
        x = stock.pointwise(x, self.expand, f"{name}_expand", inputs=channels, **own)
        x = stock.batch_normalization(x, expand, f"{name}_expand_bn", **own)
        x = keras.layers.ReLU(name=f"{name}_expand_relu")(x)
        x = stock.depthwise_conv2d(x, self.depthwise, f"{name}_depthwise", **own)
        x = stock.batch_normalization(x, depthwise, f"{name}_depthwise_bn", **own)
        x = keras.layers.ReLU(name=f"{name}_depthwise_relu")(x)
        own = dict(edge=edge, channels=channels)
        x = stock.pointwise(x, self.project, f"{name}_project", inputs=inside, **own)
        return stock.batch_normalization(x, project, f"{name}_bn", weight=weight, **own)
