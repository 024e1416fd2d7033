"""A network of stock layers, computed by the kernels that the supernet is trained with; the variables stay its own."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from hmnas_tf.layers import fused
from hmnas_tf.layers.batch_norm import normalize_batch

SHARED = (
    layers.ReLU,
    layers.MaxPooling2D,
    layers.AveragePooling2D,
    layers.ZeroPadding2D,
    layers.Cropping2D,
)  # have no variables


def fast_network(network: keras.Model) -> keras.Model:
    """Returns a model that computes what a network computes, to rounding, faster in training and in smaller graphs.

    A batch normalization is one fused kernel, gradients of wide depthwise kernels are taken from slices, dilation takes
    an image apart, 1x1 convolutions are products of matrices, sums are one pass, crops have the gradient of a slice
    without strides, and what is the same for several operations, a ReLU, a pool or a crop of one tensor, is computed
    once (docs/performance.md, "How the layers are made fast").
    All that is learned or averaged is the given network's: what trains here is trained there.

    Args:
        network: functional, of stock layers; the layers of the result have the same names.
    """
    computed: dict[Any, Any] = {}

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        stock = layer.stock if isinstance(layer, Fast) else layer
        if not isinstance(stock, SHARED):
            return layer(*args, **kwargs)
        settings = {name: value for name, value in stock.get_config().items() if name != "name"}
        key = (
            type(stock),
            repr(settings),
            id(args[0]),
        )  # the model keeps its tensors: no identity comes again
        if key not in computed:
            computed[key] = layer(*args, **kwargs)
        return computed[key]

    return keras.models.clone_model(network, clone_function=_fast, call_function=call)


class Fast(layers.Layer):
    """Computes what a stock layer computes, with its variables.

    Args:
        stock: built.
    """

    def __init__(self, stock: layers.Layer):
        super().__init__(name=stock.name, dtype=stock.dtype_policy)
        self.stock = stock
        self.built = True

    def compute_output_spec(self, inputs, **kwargs):
        """Tells shape and type without a trial run: a network has hundreds of layers."""
        shape = self.stock.compute_output_shape(keras.tree.map_structure(lambda x: x.shape, inputs))
        return keras.KerasTensor(shape, self.compute_dtype)


class FastPointwise(Fast):
    """A 1x1 convolution without a bias."""

    def call(self, inputs):
        kernel = fused.read(self.stock.kernel)
        return fused.pointwise(inputs, fused.reshape(kernel, kernel.shape[2:]))


class FastDepthwise(Fast):
    """A depthwise convolution without a bias, padded evenly: by itself at stride 1, else before."""

    def call(self, inputs):
        kernel, strides, rate = (
            fused.read(self.stock.kernel),
            self.stock.strides[0],
            self.stock.dilation_rate[0],
        )
        if strides > 1:
            return fused.depthwise(inputs, kernel, strides, padded=True)
        return fused.together(fused.depthwise(fused.apart(inputs, rate), kernel), rate, inputs.shape[1:3])


class FastBatchNormalization(Fast):
    """A batch normalization with scale and offset."""

    def call(
        self, inputs, training=None, mask=None
    ):  # a functional model hands on what the stock layer was given
        stock = self.stock
        scale, offset = (ops.cast(fused.read(x), "float32") for x in (stock.gamma, stock.beta))
        if not training:
            averages = fused.read(stock.moving_mean), fused.read(stock.moving_variance)
            return fused.normalize(inputs, scale, offset, *averages, stock.epsilon)
        y, mean, variance = normalize_batch(inputs, scale, offset, stock.epsilon)
        share = fused.biased_share(inputs) if fused.replicas() == 1 else 1.0  # of one replica it is unbiased
        _move(stock.moving_mean, mean, stock.momentum)
        _move(stock.moving_variance, variance, stock.momentum, share)
        return y


def _move(average: keras.Variable, found: Any, momentum: float, share: Any = 1.0) -> None:
    """Moves a moving average towards `share` of what was found; a number is one constant for all of a graph."""
    step = (1.0 - momentum) * share
    step = fused.constant(step) if isinstance(step, float) else step
    average.assign(fused.read(average) * fused.constant(momentum) + found * step)


class FastAdd(Fast):
    """A sum of tensors of one shape."""

    def call(self, inputs):
        return fused.add(inputs)


class FastCropping(Fast):
    """A crop of rows and columns, or of channels, see `stock.channels`."""

    def call(self, inputs):
        first = 1 if self.stock.data_format == "channels_last" else 2
        begin = [0] * 4
        begin[first : first + 2] = [before for before, _ in self.stock.cropping]
        return ops.slice(inputs, begin, [-1, *self.stock.compute_output_shape(inputs.shape)[1:]])


def _fast(layer: layers.Layer) -> layers.Layer:
    """Returns a layer that computes what a stock layer does: a faster one where there is one, or itself."""
    if isinstance(layer, layers.BatchNormalization) and layer.center and layer.scale:
        return FastBatchNormalization(layer)
    if isinstance(layer, layers.Add):
        return FastAdd(layer)
    if isinstance(layer, layers.Cropping2D):
        return FastCropping(layer)
    if isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D)):
        plain = not layer.use_bias and layer.activation is keras.activations.linear
        strides, dilated = max(layer.strides), max(layer.dilation_rate) > 1
        if isinstance(layer, layers.Conv2D):
            if plain and layer.groups == 1 and (layer.kernel_size, strides) == ((1, 1), 1):
                return FastPointwise(layer)
        elif plain and layer.depth_multiplier == 1 and layer.padding == ("same" if strides == 1 else "valid"):
            return layer if strides > 1 and dilated else FastDepthwise(layer)
    return layer
