"""Scale and offset by channel, and the layers that can take them in."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
from keras import layers

AFFINE = (layers.BatchNormalization, layers.Rescaling)
SIMPLE = (layers.ReLU, layers.ZeroPadding2D, layers.Cropping2D, layers.MaxPooling2D)  # zeros come from zeros


@dataclasses.dataclass(frozen=True)
class Affine:
    """scale * y + offset, still to be done after a layer; float64, numbers or one for each channel."""

    scale: Any = 1.0
    offset: Any = 0.0

    def after(self, first: Affine) -> Affine:
        """Returns `first`, then this."""
        return Affine(self.scale * first.scale, self.scale * first.offset + self.offset)

    def part(self, channels: slice | np.ndarray | None) -> Affine:
        """Returns it for some channels; None is all."""
        if channels is None:
            return self
        return Affine(*(v[channels] if np.ndim(v) else v for v in (self.scale, self.offset)))

    @property
    def nothing(self) -> bool:
        """Whether it changes nothing."""
        return bool(np.all(self.scale == 1.0) and np.all(self.offset == 0.0))


NOTHING = Affine()


def affine_of(layer: keras.Layer) -> Affine:
    """Returns what a batch normalization or a scaling does."""
    if isinstance(layer, layers.Rescaling):
        scale, offset = (np.asarray(value, np.float64) for value in (layer.scale, layer.offset))
        return Affine(scale.reshape(-1) if scale.ndim else scale, offset)
    mean, variance = (np.asarray(v, np.float64) for v in (layer.moving_mean, layer.moving_variance))
    scale = (np.asarray(layer.gamma, np.float64) if layer.scale else 1.0) / np.sqrt(variance + layer.epsilon)
    return Affine(scale, (np.asarray(layer.beta, np.float64) if layer.center else 0.0) - mean * scale)


def is_pointwise(layer: keras.Layer) -> bool:
    """Returns whether a layer is a 1x1 convolution of stride 1."""
    return isinstance(layer, layers.Conv2D) and layer.kernel_size == layer.strides == (1, 1)


def is_subsampling(layer: keras.Layer) -> bool:
    """Returns whether a layer keeps every so-manieth pixel, as `stock.subsample` does."""
    return isinstance(layer, layers.MaxPooling2D) and layer.pool_size == (1, 1)


def depthwise_kind(layer: keras.Layer) -> tuple | None:
    """Returns what depthwise convolutions that can be one have in common; None of other layers, and of strides."""
    if isinstance(layer, layers.DepthwiseConv2D) and layer.padding == "same":
        return layer.kernel_size, layer.strides, layer.dilation_rate
    return None


def crops_channels(layer: keras.Layer) -> bool:
    """Returns whether a layer takes some of the channels, as `stock.channels` does."""
    return isinstance(layer, layers.Cropping2D) and layer.data_format == "channels_first"


def is_channelwise(layer: keras.Layer) -> bool:
    """Returns whether each output channel comes from the same input channel."""
    kinds = (*AFFINE, *SIMPLE, layers.DepthwiseConv2D)
    return isinstance(layer, kinds) and not crops_channels(layer)


def weights_of(layer: keras.Layer, to_do: Affine, keep: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Returns kernel and bias [outputs] in float64 of a layer with `to_do` after it, for its outputs `keep` only."""
    kernel = np.asarray(layer.kernel, np.float64)
    if depthwise := isinstance(layer, layers.DepthwiseConv2D):
        kernel = np.swapaxes(kernel, 2, 3)  # [height, width, 1, channels]
    bias = np.asarray(layer.bias, np.float64) if layer.use_bias else np.zeros(kernel.shape[-1])
    if keep is not None:
        kernel, bias = kernel[..., keep], bias[keep]
    kernel, bias = kernel * to_do.scale, bias * to_do.scale + to_do.offset
    return np.swapaxes(kernel, 2, 3) if depthwise else kernel, bias


def weighted(layer: keras.Layer, x: Any, kernel: np.ndarray, bias: np.ndarray) -> Any:
    """Applies a layer like the given one with other values."""
    config = layer.get_config() | {"use_bias": bool(bias.any())}
    if isinstance(layer, layers.Conv2D):
        config["filters"] = kernel.shape[-1]
    new = type(layer).from_config(config)
    y = new(x)
    new.set_weights([v.astype(np.float32) for v in ((kernel, bias) if new.use_bias else (kernel,))])
    return y
