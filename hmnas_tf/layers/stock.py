"""Stock Keras layers that take over the values of ours; with them every layer of ours can express itself.

`x` is always a Keras tensor [batch, height, width, channels], `name` the new layer's, `edge` which of the parallel
edges of the source is meant. `inputs` and `channels` are the positions, in order, of the channels that still exist of
what a layer reads and of what it makes; None is all.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from hmnas_tf.layers import fused
from hmnas_tf.layers.batch_norm import BatchNorm
from hmnas_tf.layers.masked_kernel import MaskedKernel
from hmnas_tf.settings.paper import BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM


def conv2d(
    x: Any,
    source: MaskedKernel,
    name: str,
    *,
    inputs: np.ndarray | None = None,
    channels: np.ndarray | None = None,
) -> Any:
    """Applies a convolution with the masked kernel of a `MaskedConv2D`."""
    kernel = _part(_kernel(source), inputs, channels)
    return _conv2d(_padded(x, source, name), kernel, name, strides=source.strides)


def parallel_conv2d(
    x: Any,
    source: MaskedKernel,
    name: str,
    *,
    edge: int = 0,
    inputs: np.ndarray | None = None,
    channels: np.ndarray | None = None,
) -> Any:
    """Applies a convolution with a masked kernel of a `MaskedParallelConv2D`."""
    kernel = _part(_kernel(source)[edge], inputs, channels)
    x, padding = _evenly(x, source, name)
    return _conv2d(x, kernel, name, strides=source.strides, padding=padding)


def pointwise(
    x: Any,
    source: MaskedKernel,
    name: str,
    *,
    edge: int = 0,
    inputs: np.ndarray | None = None,
    channels: np.ndarray | None = None,
    strides: int = 1,
) -> Any:
    """Applies a 1x1 convolution with a masked kernel of a `MaskedPointwise`; `strides` in both directions."""
    kernel = _part(_kernel(source)[edge], inputs, channels)
    # Not a convolution of stride 2: to 2 channels, oneDNN's gradients of one corrupt memory (AVX2, TensorFlow 2.21).
    return _conv2d(subsample(x, strides, f"{name}_subsample"), kernel[None, None], name)


def depthwise_conv2d(
    x: Any, source: MaskedKernel, name: str, *, edge: int = 0, channels: np.ndarray | None = None
) -> Any:
    """Applies a depthwise convolution with a masked kernel of a `MaskedDepthwiseConv2D`."""
    x, padding = _evenly(x, source, name)
    layer = keras.layers.DepthwiseConv2D(
        source.kernel_size,
        strides=source.strides,
        padding=padding,
        dilation_rate=source.dilation_rate,
        use_bias=False,
        data_format="channels_last",
        name=name,
    )
    kernel = _kernel(source)[edge]
    return _apply(layer, x, [kernel if channels is None else kernel[:, :, channels]])


def batch_normalization(
    x: Any,
    source: BatchNorm,
    name: str,
    *,
    edge: int = 0,
    weight: float = 1.0,
    channels: np.ndarray | None = None,
) -> Any:
    """Applies `weight` times a batch normalization with the statistics of a `BatchNorm`.

    It is always affine: where the source is not, scale `weight` and offset 0 start from the same function (§3.4,
    DECISION). A constant factor behind it would make fine-tuning slower by its square.
    """
    statistics = [np.asarray(v) for v in (source.moving_mean, source.moving_variance)]
    mean, variance = (v[edge if len(v) > 1 else 0] for v in statistics)
    gamma, beta = np.ones_like(mean), np.zeros_like(mean)
    if source.affine:
        gamma, beta = (np.asarray(v)[edge] for v in (source.gamma, source.beta))
    layer = keras.layers.BatchNormalization(
        momentum=BATCH_NORM_MOMENTUM,
        epsilon=BATCH_NORM_EPSILON,
        synchronized=fused.replicas() > 1,  # it costs time where there is nothing to synchronise
        name=name,
    )
    values = [weight * gamma, weight * beta, mean, variance]
    return _apply(layer, x, values if channels is None else [value[channels] for value in values])


def dense(x: Any, source: keras.layers.Dense, name: str, *, inputs: np.ndarray | None = None) -> Any:
    """Applies a dense layer with the values of `source`. Its results are float32."""
    kernel, bias = (np.asarray(w) for w in source.weights)
    layer = keras.layers.Dense(source.units, name=name, dtype="float32")
    return _apply(layer, x, [kernel if inputs is None else kernel[inputs], bias])


def subsample(x: Any, strides: int, name: str) -> Any:
    """Keeps every `strides`-th pixel of both axes, from the first."""
    return (
        x
        if strides == 1
        else keras.layers.MaxPooling2D(1, strides=strides, data_format="channels_last", name=name)(x)
    )


def channels(x: Any, start: int, stop: int, name: str) -> Any:
    """Takes the channels from `start` to `stop`.

    Keras has no layer for it but one that crops the last of four axes, whatever it is named. It asks for no memory
    layout: with `channels_first` it takes a slice of the tensor as it is.
    """
    crop = ((0, 0), (start, x.shape[-1] - stop))
    return keras.layers.Cropping2D(crop, data_format="channels_first", name=name)(x)


def weighted(x: Any, weight: float, name: str) -> Any:
    """Applies `weight` times the identity; of weight 1 it is no layer."""
    return x if weight == 1.0 else keras.layers.Rescaling(weight, name=f"{name}_weight")(x)


def add(terms: list, name: str) -> Any:
    """Adds up one tensor or more; a single one needs no layer."""
    return keras.layers.Add(name=name)(terms) if len(terms) > 1 else terms[0]


def up(number: int, multiple: int) -> int:
    """Returns the next multiple of some number.

    >>> up(9, 4), up(8, 4)
    (12, 8)
    """
    return math.ceil(number / multiple) * multiple


def _padded(x: Any, source: MaskedKernel, name: str) -> Any:
    """Pads by half of the kernel on all sides."""
    border = source.kernel_size // 2
    return keras.layers.ZeroPadding2D(border, data_format="channels_last", name=f"{name}_pad")(x)


def _evenly(x: Any, source: MaskedKernel, name: str) -> tuple[Any, str]:
    """Returns what a convolution reads, and its padding; with strides "same" would pad unevenly."""
    return (x, "same") if source.strides == 1 else (_padded(x, source, name), "valid")


def _conv2d(x: Any, kernel: np.ndarray, name: str, *, strides: int = 1, padding: str = "valid") -> Any:
    *size, _, filters = kernel.shape
    layer = keras.layers.Conv2D(
        filters,
        size,
        strides=strides,
        padding=padding,
        use_bias=False,
        data_format="channels_last",
        name=name,
    )
    return _apply(layer, x, [kernel])


def _part(kernel: np.ndarray, inputs: np.ndarray | None, channels: np.ndarray | None) -> np.ndarray:
    """Returns of a kernel [..., inputs, channels] what exists."""
    kernel = kernel if inputs is None else kernel[..., inputs, :]
    return kernel if channels is None else kernel[..., channels]


def _kernel(source: MaskedKernel) -> np.ndarray:
    return np.asarray(source.masked_kernel())


def _apply(layer: keras.layers.Layer, x: Any, weights: list[np.ndarray]) -> Any:
    y = layer(x)
    layer.set_weights(weights)
    return y
