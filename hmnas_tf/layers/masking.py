"""Masks for a whole Keras model: put on, trained, and taken off again, which leaves a model of stock layers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from hmnas_tf.config import MASK_THRESHOLD
from hmnas_tf.layers import stock
from hmnas_tf.layers.masked_cell import MaskedCell
from hmnas_tf.layers.masked_conv2d import MaskedConv2D
from hmnas_tf.layers.masked_kernel import MaskedKernel
from hmnas_tf.layers.masked_layer import KERNELS, MaskedLayer, kernel_names

Values = list[tuple[keras.Layer, list[np.ndarray]]]  # what new layers are to hold, once they are built


def mask_weights(
    model: keras.Model,
    *,
    choose: Callable[[keras.Layer], bool] | None = None,
    threshold: float = MASK_THRESHOLD,
    price: float = 0.0,
) -> keras.Model:
    """Returns a copy of a model in which layers with kernels have learned binary masks (paper §3.3, Eq. 3).

    The copy has the same layers by the same names, the same weights and computes the same, because fresh masks are all
    ones. The model itself is left alone. Models inside the model are copied with it. It is not compiled.

    Args:
        model: functional or sequential, built.
        choose: given a layer of a class in `KERNELS`, says whether to mask it. By default all are but the last of
            `model.layers`, the classifier, which the paper does not mask either (DECISION).
        threshold: tau.
        price: training loss, in the loss's unit, that a weight must save to stay; see `MaskedLayer`.

    Raises:
        ValueError: if the model cannot be copied, or no layer is chosen.

    >>> dense = keras.layers.Dense
    >>> model = keras.Sequential([keras.Input((4,)), dense(8, activation="relu"), dense(2)])
    >>> [type(layer).__name__ for layer in mask_weights(model).layers]
    ['MaskedLayer', 'Dense']
    """
    _require_copyable(model)
    maskable = [layer for layer in _layers(model) if kernel_names(layer)]
    chosen = [layer for layer in maskable if choose(layer)] if choose else maskable[:-1]
    if not chosen:
        raise ValueError(
            f"expected layers to mask in {model.name!r}, received {len(maskable)} with kernels and none chosen: pass "
            f"choose=, or wrap layers in MaskedLayer. Maskable are {', '.join(k.__name__ for k in KERNELS)}."
        )
    wanted = {id(layer) for layer in chosen}

    def clone(layer: Any, values: Values) -> Any:
        copy = _copy(layer, values)
        return MaskedLayer(copy, threshold=threshold, price=price) if id(layer) in wanted else copy

    return _rebuilt(model, clone)


def set_trainable(model: keras.Model, *, masks: bool, weights: bool) -> None:
    """Chooses what `fit` trains: the masks, the weights, or both; compile the model afterwards.

    Frozen weights are frozen as in Keras, batch statistics included. Weights behind a mask of 0 get no gradient from
    the model's loss. The choice is not saved with the model.

    Args:
        model: any, with masked layers somewhere in it.
        masks: whether real masks are trained.
        weights: whether all other weights are, those of layers that were frozen before too.

    >>> model = keras.Sequential([keras.Input((4,)), MaskedLayer(keras.layers.Dense(8)), keras.layers.Dense(2)])
    >>> set_trainable(model, masks=True, weights=False)
    >>> [variable.name for variable in model.trainable_variables]
    ['kernel_real_mask']
    """
    for layer in model._flatten_layers():  # an owner comes before its parts, and decides for them first
        layer.trainable = weights or any(hasattr(part, "real_masks") for part in layer._flatten_layers())
        own = {id(mask) for mask in getattr(layer, "real_masks", ())}
        for variable in layer._trainable_variables if own else ():
            variable.trainable = masks if id(variable) in own else weights


def weight_density(model: keras.Model) -> float:
    """Returns the share of masked weights whose mask is 1; 1.0 if there are none.

    >>> weight_density(keras.Sequential([keras.Input((4,)), MaskedLayer(keras.layers.Dense(8))]))
    1.0
    """
    masks: list[np.ndarray] = []
    for layer in model._flatten_layers():
        if isinstance(layer, MaskedLayer):
            masks += layer.binary_masks()
        elif isinstance(layer, MaskedKernel):
            masks.append(layer.binary_mask())
    size = sum(mask.size for mask in masks)
    return sum(int(mask.sum()) for mask in masks) / size if size else 1.0


def strip(model: keras.Model) -> keras.Model:
    """Returns a copy of a masked model in stock Keras layers, masked weights as exact zeros; it computes the same.

    It loads where this package is not installed. Everything in it is trainable; but training it brings masked weights
    back, so train before stripping. A `MaskedConv2D` becomes a padding and a convolution, a `MaskedCell` what survives
    of it, both in Keras' present dtype policy.

    Args:
        model: functional or sequential, built.

    Raises:
        ValueError: if the model cannot be copied or holds a layer of this package that has no such form.

    >>> model = keras.Sequential([keras.Input((4,)), MaskedLayer(keras.layers.Dense(8))])
    >>> [type(layer).__name__ for layer in strip(model).layers]
    ['Dense']
    """

    def clone(layer: Any, values: Values) -> Any:
        if isinstance(layer, MaskedLayer):
            return _copy(layer.layer, values, layer.masked_values())
        if isinstance(layer, MaskedCell):  # `apply` takes the layer apart
            return layer
        if isinstance(layer, MaskedConv2D):
            image = keras.Input((None, None, layer.kernel.shape[2]))
            return keras.Model(image, stock.conv2d(image, layer, layer.name), name=layer.name)
        return _copy(layer, values)

    def apply(layer: Any, *inputs: Any, **kwargs: Any) -> Any:
        return layer.stock(*inputs, layer.name) if isinstance(layer, MaskedCell) else layer(*inputs, **kwargs)

    stripped = _rebuilt(model, clone, apply)
    for layer in stripped._flatten_layers():  # those inside other layers too
        if keras.saving.get_registered_name(type(layer)).startswith("hmnas_tf>"):
            raise ValueError(
                f"layer {layer.name!r}: expected stock layers, MaskedLayer, MaskedConv2D and MaskedCell, received "
                f"{type(layer).__name__}: build the model again with the `stock` of that layer."
            )
    stripped.trainable = True
    return stripped


def _layers(model: keras.Model) -> Iterator[keras.Layer]:
    """Yields the layers of a model and of the models in it that can be copied, in their order."""
    for layer in model.layers:
        yield from _layers(layer) if _copyable(layer) else (layer,)


def _copy(layer: Any, values: Values, arrays: list[np.ndarray] | None = None) -> Any:
    """Returns a new layer like a given one, and notes what it is to hold: `arrays`, or what the given one holds."""
    try:
        copy = type(layer).from_config(layer.get_config())
    except NotImplementedError as error:
        raise ValueError(_cannot_copy(layer)) from error
    if isinstance(layer, keras.Layer):  # others are operations, such as the sum of two tensors
        held = [ops.convert_to_numpy(variable) for variable in layer.variables] if arrays is None else arrays
        values.append((copy, held))
    return copy


def _rebuilt(
    model: keras.Model, clone: Callable[[Any, Values], Any], apply: Callable[..., Any] | None = None
) -> keras.Model:
    """Returns a copy of a model, made of what `clone` makes of its layers and `apply` of what they are applied to."""
    _require_copyable(model)
    values: Values = []
    with _uncompiled(model):
        copy = keras.models.clone_model(
            model,
            clone_function=lambda layer: clone(layer, values),
            call_function=None if isinstance(model, keras.Sequential) else apply,
            recursive=True,
        )
    for layer, arrays in values:
        for variable, value in zip(layer.variables, arrays, strict=True):
            variable.assign(value)
    return copy


def _copyable(layer: keras.Layer) -> bool:
    """Whether a layer is a functional or sequential model."""
    return isinstance(layer, keras.Model) and (
        isinstance(layer, keras.Sequential) or bool(getattr(layer, "inputs", None))
    )


def _require_copyable(model: keras.Model) -> None:
    if not _copyable(model):
        raise ValueError(_cannot_copy(model))
    if not model.built:
        raise ValueError(
            f"expected a model that is built, received {model.name!r}: begin it with keras.Input."
        )


@contextlib.contextmanager
def _uncompiled(model: keras.Model) -> Iterator[None]:
    """Keeps Keras from copying how a model is compiled: it could not copy a loss that it does not know by name."""
    compiled = [part for part in model._flatten_layers() if getattr(part, "compiled", False)]
    for part in compiled:
        part.compiled = False
    try:
        yield
    finally:
        for part in compiled:
            part.compiled = True


def _cannot_copy(layer: keras.Layer) -> str:
    return (
        f"expected functional and sequential models, whose layers can be copied, received {layer.name!r} of class "
        f"{type(layer).__name__}: wrap its layers in MaskedLayer where they are made."
    )
