"""Masks for a whole Keras model: put on, trained, and taken off again, which leaves a model of stock layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from hmnas_tf.layers import stock
from hmnas_tf.layers.copying import Copies, copy_layer, copyable, rebuilt, require_copyable
from hmnas_tf.layers.likeness import require_same
from hmnas_tf.layers.masked_cell import MaskedCell
from hmnas_tf.layers.masked_conv2d import MaskedConv2D
from hmnas_tf.layers.masked_kernel import MaskedKernel
from hmnas_tf.layers.masked_layer import KERNELS, MaskedLayer, kernel_names, require_plain_kernels
from hmnas_tf.settings.paper import MASK_INITIAL, MASK_THRESHOLD


def mask_weights(
    model: keras.Model,
    *,
    choose: Callable[[keras.Layer], bool] | None = None,
    threshold: float = MASK_THRESHOLD,
    price: float = 0.0,
) -> keras.Model:
    """Returns a copy of a model in which layers with kernels have learned binary masks (paper §3.3, Eq. 3).

    The copy has the same layers by the same names, the same weights and computes the same, because fresh masks are all
    ones: both are called once on random numbers to be sure of it. The model itself is left alone. Models inside the
    model are copied with it. It is not compiled. What layers have adapted, look up or add to the loss is carried; a
    layer without variables that cannot be made again, such as a `Lambda`, belongs to both.

    Args:
        model: functional or sequential, built.
        choose: given a layer of a class in `KERNELS`, says whether to mask it. By default all are but the last of
            `model.layers`, the classifier, which the paper does not mask either (DECISION). A model of several
            outputs has several classifiers, so it needs the choice.
        threshold: tau.
        price: training loss, in the loss's unit, that a weight must save to stay; see `MaskedLayer`.

    Raises:
        ValueError: if the model cannot be copied or its copy computes something else, if no layer is chosen, or one
            with LoRA or quantized, or if nobody says which layers of a model of several outputs are.

    >>> dense = keras.layers.Dense
    >>> model = keras.Sequential([keras.Input((4,)), dense(8, activation="relu"), dense(2)])
    >>> [type(layer).__name__ for layer in mask_weights(model).layers]
    ['MaskedLayer', 'Dense']
    """
    require_copyable(model)
    maskable = [layer for layer in _layers(model) if kernel_names(layer)]
    chosen = (
        [layer for layer in maskable if choose(layer)] if choose else _all_but_classifier(model, maskable)
    )
    if not chosen:
        raise ValueError(_nothing_chosen(model, maskable))
    wanted = {id(layer) for layer in chosen}
    masked: list[MaskedLayer] = []

    def clone(layer: Any, copies: Copies) -> Any:
        if id(layer) not in wanted:
            return copy_layer(layer, copies)
        require_plain_kernels(layer)
        masked.append(MaskedLayer(copy_layer(layer, copies), threshold=threshold, price=price))
        return masked[-1]

    copy, copies = rebuilt(model, clone)
    if threshold < MASK_INITIAL:  # else fresh masks are zeros
        weights = sum(mask.size for layer in masked for mask in layer.binary_masks())
        require_same(model, copy, copies, added_loss=price * weights)
    return copy


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
        ValueError: if the model cannot be copied, its copy computes something else, or it holds a layer of this package
            that has no such form.

    >>> model = keras.Sequential([keras.Input((4,)), MaskedLayer(keras.layers.Dense(8))])
    >>> [type(layer).__name__ for layer in strip(model).layers]
    ['Dense']
    """

    def clone(layer: Any, copies: Copies) -> Any:
        if isinstance(layer, MaskedLayer):
            return copy_layer(layer.layer, copies, layer.masked_values())
        if isinstance(layer, MaskedCell):  # `apply` takes the layer apart
            return layer
        if isinstance(layer, MaskedConv2D):
            image = keras.Input((None, None, layer.kernel.shape[2]))
            return keras.Model(image, stock.conv2d(image, layer, layer.name), name=layer.name)
        return copy_layer(layer, copies)

    def apply(layer: Any, *inputs: Any, **kwargs: Any) -> Any:
        return layer.stock(*inputs, layer.name) if isinstance(layer, MaskedCell) else layer(*inputs, **kwargs)

    stripped, copies = rebuilt(model, clone, apply)
    for layer in stripped._flatten_layers():  # those inside other layers too
        if keras.saving.get_registered_name(type(layer)).startswith("hmnas_tf>"):
            raise ValueError(
                f"layer {layer.name!r}: expected stock layers, MaskedLayer, MaskedConv2D and MaskedCell, received "
                f"{type(layer).__name__}: build the model again with the `stock` of that layer."
            )
    stripped.trainable = True
    require_same(model, stripped, copies, added_loss=None)  # regularizers see other weights now
    return stripped


def _layers(model: keras.Model) -> Iterator[keras.Layer]:
    """Yields the layers of a model and of the models in it that can be copied, in their order."""
    for layer in model.layers:
        yield from _layers(layer) if copyable(layer) else (layer,)


def _all_but_classifier(model: keras.Model, maskable: Sequence[keras.Layer]) -> Sequence[keras.Layer]:
    """Returns the layers that are masked by default."""
    if len(getattr(model, "outputs", ())) > 1:
        names = sorted({output._keras_history.operation.name for output in model.outputs})
        raise ValueError(
            f"expected a model of one output, whose last layer with a kernel is the classifier, received "
            f"{model.name!r} with {len(model.outputs)} outputs: say which to mask, as in choose=lambda layer: "
            f"layer.name not in {names}."
        )
    return maskable[:-1]


def _nothing_chosen(model: keras.Model, maskable: Sequence[keras.Layer]) -> str:
    names = [layer.name for layer in model._flatten_layers() if isinstance(layer, MaskedLayer)]
    if names:
        return (
            f"expected layers to mask in {model.name!r}, received a model that has masks already, in "
            f"{', '.join(names[:3])}{' and others' if len(names) > 3 else ''}: train those, take them off with strip "
            "first, or pass choose= to mask further layers."
        )
    return (
        f"expected layers to mask in {model.name!r}, received {len(maskable)} with kernels and none chosen: pass "
        f"choose=, or wrap layers in MaskedLayer. Maskable are {', '.join(k.__name__ for k in KERNELS)}."
    )
