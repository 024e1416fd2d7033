"""Flat variables: the values of many layers side by side in one variable, as in fully sharded data parallel training.

A graph has dozens of nodes for every variable, which is read, masked, clipped, decayed and moved; each of these is done
once for all layers here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from hmnas_tf.layers import fused

Initializer = Callable[[Sequence[int], Any], Any]  # shape and dtype to values


class Flat:
    """A variable [edges, scalars] of which each layer has a part.

    Args:
        edges: rows; the first axis of every part.
    """

    def __init__(self, edges: int):
        self.edges = edges
        self.parts: list[Part] = []
        self._initializers: list[Initializer] = []

    def part(self, shape: Sequence[int], initializer: Initializer) -> Part:
        """Returns a part of a shape that begins with `edges`; `add_to` must follow."""
        part = Part(self, sum(part.size for part in self.parts), shape)
        self.parts.append(part)
        self._initializers.append(initializer)
        return part

    def add_to(self, layer: keras.Layer, name: str, **settings: Any) -> keras.Variable:
        """Makes the variable one of a layer's, with further settings of `add_weight`."""
        shape = (self.edges, sum(part.size for part in self.parts))
        self.variable = layer.add_weight(shape=shape, initializer=self._initial, name=name, **settings)
        return self.variable

    def _initial(self, shape: Sequence[int], dtype: Any) -> Any:
        pairs = zip(self.parts, self._initializers, strict=True)
        return _side_by_side([initializer(part.shape, dtype) for part, initializer in pairs])


class Part:
    """The values of one layer in a flat variable: read and assigned like a variable of their own.

    Args:
        flat: where it lies.
        start: first column.
        shape: [edges, ...].
    """

    def __init__(self, flat: Flat, start: int, shape: Sequence[int]):
        self.flat = flat
        self.shape = tuple(shape)
        self.size = math.prod(shape[1:])
        self._columns = slice(start, start + self.size)

    def of(self, whole: Any) -> Any:
        """Returns this part of anything shaped like the flat variable, for example of its gradient."""
        return ops.reshape(whole[:, self._columns], self.shape)

    @property
    def value(self) -> Any:
        """The values, as a tensor."""
        return self.of(fused.read(self.flat.variable))

    def __tf_tensor__(self, dtype=None, name=None):
        return self.value

    def numpy(self) -> np.ndarray:
        """Returns the values as an array."""
        return self.flat.variable.numpy()[:, self._columns].reshape(self.shape)

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.numpy(), dtype)

    def assign(self, value: Any) -> None:
        """Sets the values.

        Raises:
            ValueError: if the shape is another one.
        """
        if tuple(value.shape) != self.shape:
            raise ValueError(f"expected values of shape {self.shape}, received {tuple(value.shape)}.")
        variable, columns = self.flat.variable, self._columns
        before = fused.read(variable)
        own = ops.reshape(ops.cast(value, variable.dtype), (self.flat.edges, -1))
        variable.assign(ops.concatenate([before[:, : columns.start], own, before[:, columns.stop :]], axis=1))


class Flats:
    """The flat variables of the masked convolutions and batch normalizations of some layers.

    Args:
        edges: rows of each.
        layers: not built yet; building them reserves their parts.
    """

    def __init__(self, edges: int, layers: Sequence[Any]):
        self.kernel, self.real_mask, self.average = (Flat(edges) for _ in range(3))
        for layer in layers:
            layer.flats = self


def rows(values: Sequence[Any]) -> Any:
    """Returns values [edges, ...] of layers side by side: [edges, scalars]."""
    flat = flat_of(values)
    return _side_by_side(values) if flat is None else fused.read(flat.variable)


def assign_rows(values: Sequence[Any], new: Any) -> None:
    """Assigns [edges, scalars] to the variables or parts that stand side by side in it."""
    flat = flat_of(values)
    if flat is not None:
        flat.variable.assign(new)
        return
    for value, columns in zip(values, _columns(new, values, axis=1), strict=True):
        value.assign(ops.reshape(columns, value.shape))


def from_row(row: Any, values: Sequence[Any]) -> list:
    """Returns for one edge what stands in its row: like `values`, but without their axis of edges."""
    pieces = zip(_columns(row, values, axis=0), values, strict=True)
    return [fused.reshape(piece, value.shape[1:]) for piece, value in pieces]


def flat_of(values: Sequence[Any]) -> Flat | None:
    """Returns the flat variable that consists of `values` and nothing else, if there is one."""
    flat = getattr(values[0], "flat", None)
    return flat if flat is not None and list(values) == flat.parts else None


def _side_by_side(values: Sequence[Any]) -> Any:
    return ops.concatenate([ops.reshape(value, (value.shape[0], -1)) for value in values], axis=1)


def _columns(whole: Any, values: Sequence[Any], axis: int) -> list:
    return fused.split(whole, [math.prod(value.shape[1:]) for value in values], axis)
