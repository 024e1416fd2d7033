"""Folds a trained network of stock layers into a small exact form for inference."""

from __future__ import annotations

import itertools
import json
import sys
from typing import Any

import keras
import numpy as np
from keras import layers

from hmnas_tf.derivation.affine import (
    AFFINE,
    NOTHING,
    Affine,
    affine_of,
    depthwise_kind,
    is_channelwise,
    is_pointwise,
    is_subsampling,
    weighted,
    weights_of,
)
from hmnas_tf.derivation.foldable import require_foldable

FRAMES = 6  # calls that are open for each layer on the way, at most


def fold(model: keras.Model) -> keras.Model:
    """Returns a network for inference that computes what `model` computes, with fewer layers and parameters.

    Batch normalizations and importances (`Rescaling`) become part of the kernels and biases before them; sub-sampling
    becomes the stride of the 1x1 convolution behind it. The 1x1 convolutions that a node sums become one convolution of
    their concatenated inputs, and the constants of the sum its bias. Depthwise convolutions alike before them become
    one: LiteRT takes as long for 8 channels as for 16. Layers without weights that do the same twice are once there.
    Channels inside a separable convolution that masked weights have made zero are left out, and so is an operation of
    which only a constant is left. All of it is exact, values computed in float64. Masked weights stay exact zeros.

    Args:
        model: of stock layers, with one input and one output, as `derive` and `evaluation_network` return it.

    Returns:
        A functional model of stock layers with the same input and output, float32. It has no batch statistics, so it
        is not for training.

    Raises:
        ValueError: naming a layer that is of another kind, or does something else than these layers do by default.
    """
    folding = _Folding(model, require_foldable(model))
    image = keras.Input(model.input_shape[1:], name=model.inputs[0].name)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(limit + FRAMES * len(model.layers))  # it goes as deep as the network is
    try:
        return keras.Model(image, folding.apply(image), name=f"{model.name}_folded")
    finally:
        sys.setrecursionlimit(limit)


class _Folding:
    """Goes from the output to the input and hands down what is still to be done after each layer."""

    def __init__(self, model: keras.Model, made_by: dict[int, keras.Layer]):
        self._sources: dict[str, list[keras.Layer]] = {}
        self._readers = dict.fromkeys((layer.name for layer in model.layers), 0)
        for layer in model.layers:
            inputs = [] if isinstance(layer, layers.InputLayer) else keras.tree.flatten(layer.input)
            self._sources[layer.name] = [made_by[id(tensor)] for tensor in inputs]
            for source in self._sources[layer.name]:
                self._readers[source.name] += 1
        self._first, self._last = made_by[id(model.inputs[0])], made_by[id(model.outputs[0])]
        self._done: dict[str, Any] = {}  # outputs by the layer's name
        # Outputs of layers without weights by what they do to which tensors.
        self._shared: dict[tuple, Any] = {}
        self._names: dict[str, int] = {}

    def apply(self, image: Any) -> Any:
        """Returns the folded network's output."""
        self._done[self._first.name] = image
        return self._emit(self._last)

    def _emit(self, layer: keras.Layer, to_do: Affine = NOTHING, keep: np.ndarray | None = None) -> Any:
        """Returns `to_do` of the output of a layer, of its channels `keep` only."""
        if keep is None:
            if to_do.nothing and layer.name in self._done:
                return self._done[layer.name]
            if not to_do.nothing and not self._private(layer):
                return self._scaled(self._emit(layer), to_do, layer.name)
        y = self._build(layer, to_do, keep)
        if to_do.nothing and keep is None:
            self._done[layer.name] = y
        return y

    def _build(self, layer: keras.Layer, to_do: Affine, keep: np.ndarray | None) -> Any:
        sources = self._sources[layer.name]
        if isinstance(layer, AFFINE):
            return self._emit(sources[0], to_do.after(affine_of(layer).part(keep)), keep)
        if isinstance(layer, layers.Conv2D | layers.Dense):
            return self._convolution(layer, to_do, keep)
        if isinstance(layer, layers.DepthwiseConv2D):
            kernel, bias = weights_of(layer, to_do, keep)
            return weighted(layer, self._emit(sources[0], keep=keep), kernel, bias)
        if isinstance(layer, layers.Concatenate) and not to_do.nothing:
            starts = np.cumsum([0] + [source.output.shape[-1] for source in sources])
            parts = [to_do.part(slice(*ends)) for ends in itertools.pairwise(starts)]
            return self._again(layer, [self._emit(s, part) for s, part in zip(sources, parts, strict=True)])
        if isinstance(layer, layers.Add):
            y = self._sum(layer, sources)
        else:
            y = self._again(layer, [self._emit(source, keep=keep) for source in sources])
        return self._scaled(y, to_do, layer.name)

    def _convolution(self, layer: keras.Layer, to_do: Affine, keep: np.ndarray | None) -> Any:
        (source,) = self._sources[layer.name]
        kernel, bias = weights_of(layer, to_do, keep)
        if is_pointwise(layer) and is_subsampling(source) and self._private(source):
            # Training has no strides here, see `stock.pointwise`.
            config = layer.get_config() | {"strides": source.strides}
            layer, (source,) = layers.Conv2D.from_config(config), self._sources[source.name]
        x, kernel = self._reduced(source, kernel)
        return weighted(layer, x, kernel, bias)

    def _reduced(self, source: keras.Layer, kernel: np.ndarray) -> tuple[Any, np.ndarray]:
        """Returns the input of a convolution without the channels that contribute nothing, and the kernel for it."""
        keep = self._useful(source, kernel)
        return self._emit(source, keep=keep), kernel if keep is None else kernel[..., keep, :]

    def _useful(self, source: keras.Layer, kernel: np.ndarray) -> np.ndarray | None:
        """Returns which channels of a convolution's input are needed; None is all, or none that can be left out."""
        useful = kernel.any(axis=tuple(i for i in range(kernel.ndim) if i != kernel.ndim - 2))
        useful &= self._constants(source) != 0.0
        all_stay = useful.all() or not useful.any() or not self._can_leave_out(source)
        return None if all_stay else np.flatnonzero(useful)

    def _gathered(self, pairs: list[tuple[keras.Layer, np.ndarray]]) -> tuple[Any, np.ndarray]:
        """Returns the common input of summed 1x1 convolutions and the kernel for it.

        Args:
            pairs: what each of them reads, and its kernel; of several, depthwise convolutions alike, which become one.
        """
        if len(pairs) == 1:
            return self._reduced(*pairs[0])
        kept = [self._useful(source, kernel) for source, kernel in pairs]
        (first, _), parts = pairs[0], list(zip(pairs, kept, strict=True))
        inputs = [self._emit(self._sources[source.name][0], keep=keep) for (source, _), keep in parts]
        depthwise, biases = zip(
            *(weights_of(source, NOTHING, keep) for (source, _), keep in parts), strict=True
        )
        kernels = [kernel if keep is None else kernel[..., keep, :] for (_, kernel), keep in parts]
        x = layers.Concatenate(name=f"{first.name}_inputs")(inputs)
        y = weighted(first, x, np.concatenate(depthwise, axis=2), np.concatenate(biases))
        return y, np.concatenate(kernels, axis=2)

    def _sum(self, layer: keras.Layer, sources: list[keras.Layer]) -> Any:
        """Returns a node: one convolution for all its 1x1 convolutions, which also carries all constants."""
        alike: dict[
            Any, list[tuple[keras.Layer, np.ndarray]]
        ] = {}  # what 1x1 convolutions read, by what can be one
        others = []
        offset: Any = 0.0
        for source in sources:
            end, to_do = self._without_affine(source)
            kernel, bias = weights_of(end, to_do, None) if is_pointwise(end) else (None, None)
            if kernel is None or not self._private(end):
                others.append((end, to_do))
                continue
            offset = offset + bias
            if kernel.any():
                (read,) = self._sources[end.name]
                kind = depthwise_kind(read) if self._private(read) else None
                alike.setdefault(kind or read.name, []).append((read, kernel))
        inputs, kernels = zip(*map(self._gathered, alike.values()), strict=True) if alike else ((), ())
        if not inputs and others:  # the first of the others must carry the constants
            end, to_do = others[0]
            others[0] = (end, Affine(to_do.scale, to_do.offset + offset))
        terms = []
        for end, to_do in others:
            if inputs:
                offset, to_do = offset + to_do.offset, Affine(to_do.scale)
            terms.append(self._emit(end, to_do))
        if inputs:
            x = (
                layers.Concatenate(name=f"{layer.name}_inputs")(list(inputs))
                if len(inputs) > 1
                else inputs[0]
            )
            kernel = np.concatenate(kernels, axis=2)
            like = layers.Conv2D(
                kernel.shape[-1], 1, data_format="channels_last", name=f"{layer.name}_pointwise"
            )
            terms.append(weighted(like, x, kernel, np.broadcast_to(offset, kernel.shape[-1:])))
        if not terms:  # nothing but constants; they need a tensor to be added to
            return self._scaled(self._emit(sources[0]), Affine(0.0, offset), layer.name)
        return self._again(layer, terms) if len(terms) > 1 else terms[0]

    def _without_affine(self, layer: keras.Layer) -> tuple[keras.Layer, Affine]:
        """Returns what stands before the scalings that end in `layer`, and the scalings."""
        to_do = NOTHING
        while isinstance(layer, AFFINE) and self._private(layer):
            to_do = to_do.after(affine_of(layer))
            (layer,) = self._sources[layer.name]
        return layer, to_do

    def _private(self, layer: keras.Layer) -> bool:
        """Whether at most one layer reads it, so that it may become something else; the image may not."""
        return self._readers[layer.name] <= 1 and layer is not self._first

    def _can_leave_out(self, layer: keras.Layer) -> bool:
        """Whether `layer` can be made without some of its channels."""
        if not self._private(layer):
            return False
        if is_channelwise(layer):
            return self._can_leave_out(self._sources[layer.name][0])
        return isinstance(layer, layers.Conv2D)

    def _constants(self, layer: keras.Layer) -> np.ndarray:
        """Returns for each channel the value that it has everywhere and for every image, NaN where there is none."""
        if isinstance(layer, layers.Conv2D):
            kernel, bias = weights_of(layer, NOTHING, None)
            return np.where(kernel.any(axis=(0, 1, 2)), np.nan, bias)
        if not is_channelwise(layer):
            return np.full(layer.output.shape[-1], np.nan)
        values = self._constants(self._sources[layer.name][0])
        if isinstance(layer, AFFINE):
            affine = affine_of(layer)
            return affine.scale * values + affine.offset
        if isinstance(layer, layers.ReLU):
            return np.maximum(values, 0.0)
        values = np.where(values == 0.0, 0.0, np.nan)  # other values meet a border of zeros
        if isinstance(layer, layers.DepthwiseConv2D):
            kernel, bias = weights_of(layer, NOTHING, None)
            return np.where(kernel.any(axis=(0, 1))[:, 0] & (values != 0.0), np.nan, bias)
        return values

    def _scaled(self, x: Any, to_do: Affine, name: str) -> Any:
        if to_do.nothing:
            return x
        scale, offset = (np.asarray(v, np.float64) for v in (to_do.scale, to_do.offset))
        if (
            scale.ndim and len(x.shape) == 4
        ):  # else Keras takes it for what its image_data_format says, where it is loaded
            scale = scale[None, None]
        scale, offset = scale.tolist(), offset.tolist()
        return self._again(layers.Rescaling(scale, offset, name=f"{name}_scaled"), [x])

    def _again(self, layer: keras.Layer, inputs: list) -> Any:
        """Applies a layer without weights, unless another has done the same to the same inputs."""
        config = layer.get_config()
        name = config.pop("name")
        key = (type(layer), json.dumps(config, default=str, sort_keys=True), *map(id, inputs))
        if key not in self._shared:
            again = type(layer).from_config(config | {"name": self._unused(name)})
            several = isinstance(layer, layers.Add | layers.Concatenate)
            self._shared[key] = again(inputs if several else inputs[0])
        return self._shared[key]

    def _unused(self, name: str) -> str:
        self._names[name] = self._names.get(name, 0) + 1
        return name if self._names[name] == 1 else f"{name}_{self._names[name]}"
