"""How much memory the activations of one image need at once, with the operations in the best order."""

from __future__ import annotations

import functools
import math

import keras
from keras import layers

from hmnas_tf.networks.operation_order import Operation, best_order

IN_PLACE = (  # work value by value, so that the result can stand where the only one that reads its input had it
    layers.Activation,
    layers.BatchNormalization,
    layers.Dropout,
    layers.Flatten,
    layers.ReLU,
    layers.Rescaling,
    layers.Reshape,
)


def peak_values(model: keras.Model) -> int:
    """Returns how many values of activations one image needs at once, at most, in the best order of operations.

    Each tensor has a place of its own while it is needed. Value by value, as a ReLU or a batch normalization
    works, nothing more is needed if nobody else reads the input: runtimes make them part of the operation before.
    Weights, what a runtime keeps for itself, and room that a kernel works in are not counted.

    Args:
        model: functional, of stock layers.
    """
    operations, sizes, kept = _graph(model)
    return best_order(operations, sizes, kept).peak


def _graph(model: keras.Model) -> tuple[list[Operation], list[int], list[int]]:
    """Returns operations, sizes of tensors in values, and the tensors that are needed in the end."""
    readers: dict[int, int] = {}
    for layer in model.layers:
        for tensor in _inputs(layer):
            readers[id(tensor)] = readers.get(id(tensor), 0) + 1
    operations: list[Operation] = []
    sizes: list[int] = []
    numbers: dict[int, int] = {}  # of tensors, by their id

    def made(values: int, inputs: tuple[int, ...] = ()) -> int:
        sizes.append(values)
        if inputs:
            operations.append(Operation(inputs, len(sizes) - 1))
        return len(sizes) - 1

    for layer in model.layers:
        inputs = tuple(numbers[id(tensor)] for tensor in _inputs(layer))
        values = math.prod(layer.output.shape[1:])
        if not inputs:
            number = made(values)
        elif isinstance(layer, IN_PLACE) and readers[id(layer.input)] == 1:
            (number,) = inputs
        else:
            if isinstance(layer, layers.SeparableConv2D):  # two operations with a tensor between
                channels = layer.input.shape[-1] * layer.depth_multiplier
                inputs = (made(values // layer.filters * channels, inputs),)
            if isinstance(layer, layers.Add):  # one after the other, as all runtimes here do
                first, *others = inputs
                number = functools.reduce(lambda sum_, other: made(values, (sum_, other)), others, first)
            else:
                number = made(values, inputs)
        numbers[id(layer.output)] = number
    return operations, sizes, [numbers[id(tensor)] for tensor in model.outputs]


def _inputs(layer: keras.Layer) -> list:
    return [] if isinstance(layer, layers.InputLayer) else keras.tree.flatten(layer.input)
