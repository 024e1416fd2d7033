"""What all masked convolutions share: a kernel, its real mask, and the product of the two."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from hmnas_tf.layers.binary_mask import binarize
from hmnas_tf.layers.flat import Flats, flat_of, rows
from hmnas_tf.settings.paper import MASK_INITIAL, MASK_THRESHOLD

INITIAL_MASK = keras.initializers.Constant(MASK_INITIAL)
MASK: dict[str, Any] = dict(dtype="float32", autocast=False)  # settings of a variable of real masks


def gated(kernel: Any, real_mask: Any, threshold: float) -> Any:
    """Returns w * M, M = H(M^r - tau), in the kernel's dtype: the one place where a kernel meets its mask (Eq. 3)."""
    kernel = ops.convert_to_tensor(kernel)
    return kernel * ops.cast(binarize(real_mask, threshold), kernel.dtype)


def add_real_mask(layer: keras.Layer, shape: Sequence[int], name: str, **kwargs) -> keras.Variable:
    """Adds a real mask to a layer: all ones after the threshold, and float32 whatever the layer computes in."""
    return layer.add_weight(
        shape=shape,
        initializer=INITIAL_MASK,
        name=name,
        **MASK | kwargs,
    )


class MaskedKernel(keras.layers.Layer):
    """A convolution with kernel w * M, M = H(M^r - tau) (paper §3.3, Eqs. 3 and 4); it has no bias.

    A fresh mask is all ones, so the layer is a plain convolution until somebody trains `real_mask`. Where M is 0 the
    gradient of the kernel is 0.

    Args:
        threshold: tau.

    Attributes:
        flats: before it is built, where kernel and mask shall be parts of flat variables; None for its own.
    """

    def __init__(self, *, threshold: float = MASK_THRESHOLD, **kwargs):
        super().__init__(**kwargs)
        self.threshold = threshold
        self.flats: Flats | None = None

    def _add_kernel(self, shape: Sequence[int], fan_in: int, pixels: Sequence[int]) -> None:
        """Adds the kernel, He-normal for `fan_in` inputs an output, and its mask; `pixels` are those of an output."""
        he_normal = keras.initializers.RandomNormal(stddev=math.sqrt(2.0 / fan_in))
        if self.flats is None:
            self.kernel = self.add_weight(shape=shape, initializer=he_normal, name="kernel")
            self.real_mask = add_real_mask(self, shape, "real_mask")
        else:
            self.kernel = self.flats.kernel.part(shape, he_normal)
            self.real_mask = self.flats.real_mask.part(shape, INITIAL_MASK)
        self.positions = math.prod(pixels)

    def masked_kernel(self):
        """Returns w * M in the kernel's dtype."""
        return gated(self.kernel, self.real_mask, self.threshold)

    @property
    def real_masks(self) -> list[keras.Variable]:
        """The masks that are variables of this layer's own."""
        return [self.real_mask] if self.flats is None else []

    def pair(self, inputs: list) -> list[tuple]:
        """Returns one (input, kernel) an edge; a single input is read by all edges."""
        kernels = ops.unstack(self.masked_kernel(), self.kernel.shape[0])
        return list(zip(inputs if len(inputs) > 1 else inputs * len(kernels), kernels, strict=True))

    def binary_mask(self) -> np.ndarray:
        """Returns M as a bool array of the kernel's shape."""
        return ops.convert_to_numpy(binarize(self.real_mask, self.threshold)) > 0

    def get_config(self):
        return super().get_config() | {"threshold": self.threshold}


def masked_rows(layers: Sequence[MaskedKernel]) -> Any:
    """Returns the masked kernels of layers side by side, see `flat.rows`: [edges, scalars]."""
    kernels, real_masks = zip(*((layer.kernel, layer.real_mask) for layer in layers), strict=True)
    if flat_of(kernels) is None:
        return rows([layer.masked_kernel() for layer in layers])
    return gated(rows(kernels), rows(real_masks), layers[0].threshold)  # all at once


def halved(size: int, strides: int) -> int:
    """Returns how many pixels of `size` remain when every `strides`-th is kept from the first."""
    return -(-size // strides)


def halved_shape(shape: tuple, strides: int) -> tuple:
    """Returns the shape of [batch, height, width, channels] of which every `strides`-th pixel is kept, see `halved`."""
    batch, height, width, channels = shape
    return (batch, halved(height, strides), halved(width, strides), channels)
