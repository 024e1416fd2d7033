"""Copies of functional and sequential models, layer by layer, with everything that the layers hold.

A layer is made again from its configuration. What it has learned lies in variables, and for some layers elsewhere:
an adapted `Normalization` keeps what it computed from them, a `StringLookup` a table. Keras' own hooks for files,
`save_own_variables` and `save_assets` with their counterparts, carry that. A layer that cannot be made again is used by
both models if it has no variables, for then training cannot change it; else the model is refused.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops


@dataclasses.dataclass(frozen=True)
class Copied:
    """A layer and its copy, which gets its values once it is built.

    Attributes:
        layer: of the model.
        copy: of the same class.
        arrays: what the copy's variables are to hold; None for what those of `layer` do.
    """

    layer: keras.Layer
    copy: keras.Layer
    arrays: list[np.ndarray] | None = None


Copies = list[Copied]


def copy_layer(layer: Any, copies: Copies, arrays: list[np.ndarray] | None = None) -> Any:
    """Returns a new layer like a given one, and notes what it is to hold: `arrays`, or what the given one holds.

    Raises:
        ValueError: if the layer cannot be made again and has variables.
    """
    try:
        with _objects_of(layer):
            copy = type(layer).from_config(_configuration(layer))
    except Exception as error:  # whatever the class of somebody else raises
        if isinstance(layer, keras.Layer) and layer.variables:
            raise _not_copied(layer, f"{type(error).__name__}: {error}") from error
        return layer
    if isinstance(layer, keras.Layer):  # others are operations, such as the sum of two tensors
        copies.append(Copied(layer, copy, arrays))
    return copy


def rebuilt(
    model: keras.Model,
    clone: Callable[[Any, Copies], Any],
    apply: Callable[..., Any] | None = None,
) -> tuple[keras.Model, Copies]:
    """Returns a copy of a model and of which layers it has copies.

    Args:
        model: functional or sequential, built.
        clone: makes a new layer of one of the model's and notes copies, as `copy_layer` does.
        apply: applies a new layer to tensors; None calls it.

    Raises:
        ValueError: if the model cannot be copied.
    """
    require_copyable(model)
    copies: Copies = []

    def applied(layer: Any, *inputs: Any, **kwargs: Any) -> Any:
        try:
            return apply(layer, *inputs, **kwargs) if apply else layer(*inputs, **kwargs)
        except Exception as error:  # as above
            raise _not_called(f"layer {layer.name!r}", error) from error

    try:
        with _uncompiled(model):
            copy = keras.models.clone_model(
                model,
                clone_function=lambda layer: clone(layer, copies),
                call_function=None if isinstance(model, keras.Sequential) else applied,
                recursive=True,
            )
    except ValueError as error:
        raise _not_called(f"model {model.name!r}", error) if "\n" in str(error) else error from error
    for copied in copies:
        try:
            _fill(copied)
        except Exception as error:  # as above
            raise _not_copied(copied.layer, f"{type(error).__name__}: {error}") from error
    _require_shared_alike(copies)
    return copy, copies


def copyable(layer: keras.Layer) -> bool:
    """Whether a layer is a functional or sequential model."""
    return isinstance(layer, keras.Model) and (
        isinstance(layer, keras.Sequential) or bool(getattr(layer, "inputs", None))
    )


def one_line(text: object, most: int = 200) -> str:
    """Returns a message of another package in one line, without Keras' colours and not too long."""
    words = " ".join(str(text).replace("\033[1m", "").replace("\033[0m", "").split())
    return words if len(words) <= most else f"{words[:most]}..."


def _require_shared_alike(copies: Copies) -> None:
    """Refuses copies in which a variable that several layers share has become several variables."""
    found: dict[int, keras.Variable] = {}
    for copied in copies:
        for variable, new in zip(copied.layer.variables, copied.copy.variables, strict=True):
            if found.setdefault(id(variable), new) is not new:
                raise ValueError(
                    f"layer {copied.layer.name!r}: expected variables of its own, received {variable.path!r}, which "
                    "other layers have too and their copies would each have alone: apply one layer several times, or "
                    "wrap the layers of the model in MaskedLayer where they are made."
                )


def _fill(copied: Copied) -> None:
    """Gives a copy that is built what its layer holds: state that is not in variables first, then variables."""
    layer, copy = copied.layer, copied.copy
    for own, new in zip(layer._flatten_layers(), copy._flatten_layers(), strict=True):
        _carry_state(own, new)
        if new.trainable != own.trainable:
            new.trainable = own.trainable
    arrays = copied.arrays
    if arrays is None:
        arrays = [ops.convert_to_numpy(variable) for variable in layer.variables]
    if len(copy.variables) != len(arrays):
        raise ValueError(f"it has {len(arrays)} variables, made again {len(copy.variables)}")
    for variable, value in zip(copy.variables, arrays, strict=True):
        variable.assign(value)


def _carry_state(layer: keras.Layer, copy: keras.Layer) -> None:
    """Carries state as a file would, for layers that do more there than Keras does for every layer."""
    if not copy.built:
        return
    if getattr(layer, "stateful", False):  # where a recurrent layer stopped is not among its variables
        states = (keras.tree.flatten(getattr(part, "states", None)) for part in (layer, copy))
        for own, new in zip(*states, strict=True):
            new.assign(own)
    if type(layer).load_own_variables is not keras.Layer.load_own_variables:
        store: dict[str, Any] = {}
        layer.save_own_variables(store)
        with contextlib.suppress(
            ValueError
        ):  # it may know of fewer variables than there are: they come afterwards
            copy.load_own_variables(store)
    if hasattr(layer, "save_assets") and hasattr(copy, "load_assets"):
        with tempfile.TemporaryDirectory() as folder:
            layer.save_assets(folder)
            copy.load_assets(folder)


def _configuration(layer: Any) -> dict[str, Any]:
    """Returns the configuration of a layer, with functions of one's own as they are: by name nobody could find them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The object being serialized includes a `lambda`", UserWarning)
        configuration = layer.get_config()
    for name, value in configuration.items():
        live = getattr(layer, name, None) if isinstance(value, dict) else None
        if isinstance(live, types.FunctionType):
            configuration[name] = live
    return configuration


@contextlib.contextmanager
def _objects_of(layer: Any) -> Iterator[None]:
    """Inside, Keras finds the classes and functions that a layer holds by their names, registered or not."""
    parts = layer._flatten_layers() if isinstance(layer, keras.Layer) else [layer]
    found = {}
    for value in (value for part in parts for value in (part, *vars(part).values())):
        known = value if isinstance(value, types.FunctionType) else type(value)
        if not known.__module__.startswith(("keras.", "builtins")):
            found[known.__name__] = known
    with keras.saving.custom_object_scope(found):
        yield


def require_copyable(model: keras.Model) -> None:
    """Refuses a model that cannot be taken apart and put together again as it is.

    Raises:
        ValueError: naming the model and what to do.
    """
    if not copyable(model):
        raise ValueError(
            f"expected functional and sequential models, whose layers can be copied, received {model.name!r} of class "
            f"{type(model).__name__}: wrap its layers in MaskedLayer where they are made."
        )
    if not model.built:
        raise ValueError(
            f"expected a model that is built, received {model.name!r}: begin it with keras.Input."
        )
    for part in model._flatten_layers():
        if copyable(part) and not _keeps_class(part):
            first = "s[0]" if isinstance(part, keras.Sequential) else ""
            raise ValueError(
                f"expected models of Keras' own classes, received {part.name!r} of class {type(part).__name__}, which "
                f"cannot be made again with its own methods: pass the network alone, keras.Model(model.input{first}, "
                f"model.output{first}), and train that, or wrap its layers in MaskedLayer where they are made."
            )


def _keeps_class(model: keras.Model) -> bool:
    """Whether a copy of a functional or sequential model is of its class: another `__init__` is told other things."""
    kinds = [kind for kind in type(model).__mro__ if "__init__" in vars(kind)]
    own = type(model) if isinstance(model, keras.Sequential) else kinds[0]
    return own.__module__.startswith("keras.")


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


def _not_called(what: str, error: Exception) -> ValueError:
    return ValueError(
        f"{what}: expected layers whose copies can be called as they are, received {type(error).__name__} "
        f"({one_line(error)}): leave the layer out with choose=, or wrap layers in MaskedLayer where they are made."
    )


def _not_copied(layer: keras.Layer, reason: str) -> ValueError:
    return ValueError(
        f"layer {layer.name!r}: expected a layer that get_config and from_config make again, received "
        f"{type(layer).__name__} ({one_line(reason)}): mend them, or wrap the layers of the model in MaskedLayer where "
        "they are made."
    )
