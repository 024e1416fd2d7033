"""Which networks can be folded: those whose layers `fold` knows, in the way it knows them."""

from __future__ import annotations

import keras
from keras import layers

from hmnas_tf.derivation.affine import AFFINE, SIMPLE, crops_channels

KNOWN = (
    layers.InputLayer,
    layers.Conv2D,
    layers.DepthwiseConv2D,
    layers.Dense,
    *AFFINE,
    *SIMPLE,
    layers.AveragePooling2D,
    layers.GlobalAveragePooling2D,
    layers.Add,
    layers.Concatenate,
)
PLAIN = {  # attributes of these layers that must be as they are by default, and how that is written
    "data_format": ("channels_last",),
    "groups": (1,),
    "depth_multiplier": (1,),
    "negative_slope": (0.0, None),
    "threshold": (0.0, None),
    "max_value": (None,),
    "keepdims": (False,),
}


def require_foldable(model: keras.Model) -> dict[int, keras.Layer]:
    """Refuses what would be folded into something else.

    Returns:
        By the `id` of each tensor the layer that makes it.

    Raises:
        ValueError: naming a layer that is of another kind, or does something else than these layers do by default.
    """
    for layer in model.layers:
        if type(layer) not in KNOWN:
            raise ValueError(
                f"expected layers of the kinds {', '.join(k.__name__ for k in KNOWN)}, received "
                f"{type(layer).__name__} {layer.name!r}"
            )
        if getattr(layer, "activation", keras.activations.linear) is not keras.activations.linear:
            raise ValueError(f"expected activations in layers of their own, received one in {layer.name!r}")
        if layer.compute_dtype != "float32":
            raise ValueError(
                f"expected a network in float32, received {layer.compute_dtype} in {layer.name!r}"
            )
        for name, plain in PLAIN.items():
            value = getattr(layer, name, plain[0])
            if value not in plain and not crops_channels(layer):
                raise ValueError(f"expected {name}={plain[0]!r}, received {value!r} in {layer.name!r}")
        rank = len(keras.tree.flatten(layer.output)[0].shape)
        if getattr(layer, "axis", -1) not in (-1, rank - 1):
            raise ValueError(f"expected the channels as axis, received axis={layer.axis} in {layer.name!r}")
    made_by = {id(layer.output): layer for layer in model.layers}
    read = [tensor for layer in model.layers for tensor in keras.tree.flatten(layer.input)]
    if not {id(tensor) for tensor in (*read, *model.outputs)} <= made_by.keys():
        raise ValueError("expected every layer to be applied once, received a network that uses some again")
    return made_by
