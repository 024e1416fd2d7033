"""Whether a copy of a model computes what the model does: both are called once on a few random numbers.

Layers may keep what they have learned where no rule finds it, in an attribute for instance. A copy that lacks it would
compute something else without a word; so would one that reads variables of the model, as soon as its own are trained.
That is why all weights are others in the comparison, in both alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from hmnas_tf.layers.copying import Copies, one_line

BATCH = 2
SIZES = (32, 256)  # pixels or steps where a model takes any number: one more, for networks that shrink a lot
FULL, HALF = 1e-4, 5e-2  # of the largest output: what may differ, by the numbers that are computed in
WORDS = ("a", "b", "the")
SEED = 0
CHANGED = 0.9  # of what weights are, they have in the comparison


def require_same(model: keras.Model, copy: keras.Model, copies: Copies, added_loss: float | None) -> None:
    """Refuses a copy that computes something else than the model.

    Neither is changed by it. A model that cannot be called on random numbers, or that answers differently each time, is
    not compared.

    Args:
        model: functional or sequential, built.
        copy: made of it.
        copies: layers and their copies, to name one that differs.
        added_loss: what the copy's losses are above the model's; None leaves losses out.

    Raises:
        ValueError: naming the layer if it can be found.
    """
    own, new = _both(copies)
    for size in SIZES:
        try:
            inputs = _random_inputs(model, size)
            expected, loss = _outcome(model, inputs, own)
        except Exception:  # it cannot be called on such numbers: there is nothing to compare with
            continue
        try:
            received, own_loss = _outcome(copy, inputs, new)
        except Exception as error:  # whatever a layer of somebody else raises
            raise _differs(model, copies, size, f"it cannot be called ({one_line(error)})") from error
        scale = HALF if any("16" in str(part.compute_dtype) for part in _parts(model)) else FULL
        if not _same(received, expected, scale):
            if _same(_outcome(model, inputs, own)[0], expected, scale):
                raise _differs(model, copies, size, "it computes something else")
            return
        if added_loss is not None and not np.isclose(
            own_loss - added_loss, loss, rtol=1e-3, atol=FULL * abs(own_loss)
        ):
            raise _differs(
                model, copies, size, f"its losses add up to {own_loss - added_loss:.6g}, not {loss:.6g}"
            )
        return


def _both(copies: Copies) -> tuple[list[keras.Layer], list[keras.Layer]]:
    return [copied.layer for copied in copies], [copied.copy for copied in copies]


def _outcome(layer: keras.Layer, inputs: Any, parts: Sequence[keras.Layer]) -> tuple[list[np.ndarray], float]:
    """Returns what a layer or model computes if `parts` have other weights, and its losses added up.

    Nothing that it changes stays changed.
    """
    variables = (variable for part in parts for variable in part.variables if "float" in variable.dtype)
    values = [(variable, variable) for variable in layer.variables]
    values += [(variable, variable * CHANGED) for variable in variables]
    with keras.StatelessScope(values, collect_losses=True):
        outputs = layer(inputs, training=False) if isinstance(layer, keras.Model) else layer(inputs)
        losses = [float(ops.convert_to_numpy(loss)) for loss in layer.losses]
        layer._clear_losses()
    return [np.asarray(ops.convert_to_numpy(output)) for output in keras.tree.flatten(outputs)], sum(losses)


def _random_inputs(layer: keras.Layer, size: int) -> Any:
    random = np.random.default_rng(SEED)

    def numbers(tensor: Any) -> Any:
        shape = [size if length is None else length for length in tensor.shape]
        if shape and tensor.shape[0] is None:
            shape[0] = BATCH
        kind = keras.backend.standardize_dtype(tensor.dtype)
        if kind == "string":
            return ops.convert_to_tensor(random.choice(WORDS, shape).astype(object), dtype="string")
        whole = kind == "bool" or "int" in kind
        values = random.integers(0, 2, shape) if whole else random.standard_normal(shape)
        return ops.convert_to_tensor(values, dtype=kind)

    inputs = layer.inputs[0] if isinstance(layer, keras.Sequential) else layer.input
    return keras.tree.map_structure(numbers, inputs)


def _same(received: list[np.ndarray], expected: list[np.ndarray], tolerance: float) -> bool:
    if len(received) != len(expected):
        return False
    return all(_close(*pair, tolerance) for pair in zip(received, expected, strict=True))


def _close(received: np.ndarray, expected: np.ndarray, tolerance: float) -> bool:
    if received.shape != expected.shape:
        return False
    if expected.dtype.kind in "OSU":
        return bool((received == expected).all())
    received, expected = received.astype(np.float64), expected.astype(np.float64)
    largest = np.abs(expected, where=np.isfinite(expected), out=np.zeros_like(expected)).max(initial=0.0)
    return np.allclose(received, expected, rtol=0.0, atol=tolerance * largest, equal_nan=True)


def _differs(model: keras.Model, copies: Copies, size: int, what: str) -> ValueError:
    return ValueError(
        f"expected a copy of {model.name!r} that computes what it computes, but {what}: {_culprit(copies, size)} keeps "
        "something, or reads the variables of another, where a copy does not find it. Put it into variables or into "
        "get_config, or wrap the layers of the model in MaskedLayer where they are made."
    )


def _culprit(copies: Copies, size: int) -> str:
    """Returns the first layer whose copy differs from it."""
    own, new = _both(copies)
    for copied in copies:
        if copied.arrays is not None:  # it is meant to differ
            continue
        layer = copied.layer
        try:
            inputs = _random_inputs(layer, size)
            expected = _outcome(layer, inputs, own)
        except Exception:  # it wants more than inputs
            continue
        try:
            received = _outcome(copied.copy, inputs, new)
        except Exception:  # the layer itself can be called
            received = [], 0.0
        if not _same(received[0], expected[0], HALF):
            return f"layer {layer.name!r} of class {type(layer).__name__}"
    return "a layer"


def _parts(model: keras.Model) -> list[keras.Layer]:
    return list(model._flatten_layers())
