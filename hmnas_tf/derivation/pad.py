"""Pads the channels of a folded network to numbers that a runtime is fast with."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers

from hmnas_tf.derivation.affine import NOTHING, crops_channels, weighted, weights_of
from hmnas_tf.layers import stock

# DECISION: onnxruntime's blocked kernels take multiples of 4 only. On an AVX2 processor a separable convolution of 15
# channels at 16x16 takes 118 us, of 16 it takes 50.
MULTIPLE = 4


class Placed(NamedTuple):
    """A tensor, and where in its channels those of the network before stand; what is in the others does not matter."""

    tensor: Any
    places: np.ndarray


def pad(model: keras.Model, multiple: int = MULTIPLE) -> keras.Model:
    """Returns a network that computes what `model` computes, with multiples of some number as channels inside.

    Every convolution makes channels of zeros until there are enough; whatever reads them has zeros for them. It has
    more parameters and the same values.

    Args:
        model: of `fold`.
        multiple: of which all channels between input and classifier become multiples.

    Returns:
        A functional model of stock layers with the same input and output; `model` itself if there is nothing to do, or
        if it takes channels apart.
    """
    if any(crops_channels(layer) for layer in model.layers) or not _odd_ones(model, multiple):
        return model
    filters = _filters(model, multiple)
    done: dict[int, Placed] = {}
    for layer in model.layers:
        outputs = layer.output
        if isinstance(layer, layers.InputLayer):
            image = keras.Input(outputs.shape[1:], name=layer.name)
            done[id(outputs)] = Placed(image, np.arange(outputs.shape[-1]))
            continue
        inputs = [done[id(tensor)] for tensor in keras.tree.flatten(layer.input)]
        done[id(outputs)] = _applied(layer, inputs, filters.get(layer.name, 0))
    return keras.Model(image, done[id(model.outputs[0])].tensor, name=f"{model.name}_padded")


def _odd_ones(model: keras.Model, multiple: int) -> bool:
    return any(layer.filters % multiple for layer in model.layers if type(layer) is layers.Conv2D)


def _filters(model: keras.Model, multiple: int) -> dict[str, int]:
    """Returns how many channels each convolution is to make.

    Of those that are concatenated and with nothing else, as in a factorized reduce, only the last makes more: the
    result has its channels in the first places, as what it is added to.
    """
    found = {
        layer.name: stock.up(layer.filters, multiple)
        for layer in model.layers
        if type(layer) is layers.Conv2D
    }
    made_by = {id(layer.output): layer for layer in model.layers}
    for layer in model.layers:
        if isinstance(layer, layers.Concatenate):
            parts = [made_by[id(tensor)] for tensor in layer.input]
            if all(type(part) is layers.Conv2D for part in parts):
                found |= {part.name: part.filters for part in parts}
                total = sum(part.filters for part in parts)
                found[parts[-1].name] += stock.up(total, multiple) - total
    return found


def _applied(layer: keras.Layer, inputs: list[Placed], filters: int) -> Placed:
    """Applies a layer to padded inputs."""
    x, places = inputs[0]
    size = x.shape[-1]
    if isinstance(layer, layers.Concatenate):
        starts = np.cumsum([0] + [each.tensor.shape[-1] for each in inputs])
        moved = [start + each.places for start, each in zip(starts[:-1], inputs, strict=True)]
        return Placed(_like(layer, [each.tensor for each in inputs]), np.concatenate(moved))
    if isinstance(layer, layers.Add):
        if any(not np.array_equal(each.places, places) for each in inputs):
            raise ValueError(f"expected the same channels in all that {layer.name!r} adds, received others")
        return Placed(_like(layer, [each.tensor for each in inputs]), places)
    if isinstance(layer, layers.DepthwiseConv2D):
        kernel, bias = weights_of(layer, NOTHING, None)
        return Placed(
            weighted(layer, x, _spread(kernel, 2, places, size), _spread(bias, 0, places, size)), places
        )
    if isinstance(layer, layers.Conv2D | layers.Dense):
        kernel, bias = weights_of(layer, NOTHING, None)
        made = np.arange(kernel.shape[-1])
        filters = filters or len(made)
        kernel = _spread(_spread(kernel, kernel.ndim - 2, places, size), kernel.ndim - 1, made, filters)
        return Placed(weighted(layer, x, kernel, _spread(bias, 0, made, filters)), made)
    if isinstance(layer, layers.Rescaling):
        scale, offset = (
            _spread(value.reshape(-1), 0, places, size).reshape((1, 1, -1)).tolist()
            if value.ndim
            else value.item()
            for value in (np.asarray(layer.scale), np.asarray(layer.offset))
        )
        return Placed(layers.Rescaling(scale, offset, name=layer.name)(x), places)
    return Placed(_like(layer, x), places)


def _like(layer: keras.Layer, x: Any) -> Any:
    return type(layer).from_config(layer.get_config())(x)


def _spread(values: np.ndarray, axis: int, places: np.ndarray, size: int) -> np.ndarray:
    """Returns values put into their places along an axis of some size, zeros in the others."""
    if len(places) == size:
        return values
    shape = list(values.shape)
    shape[axis] = size
    spread = np.zeros(shape, values.dtype)
    spread[(*[slice(None)] * axis, places)] = values
    return spread
