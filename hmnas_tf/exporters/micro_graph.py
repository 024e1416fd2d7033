"""What is changed in a model of TensorFlow Lite before it goes to a microcontroller; it computes the same.

A model is an object of the schema, as `flatbuffer_utils` reads and writes it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from hmnas_tf.networks.operation_order import Operation, best_order

# Methods of `MicroMutableOpResolver` that are called otherwise than their operators.
REGISTERED = {"BATCH_MATMUL": "BatchMatMul", "CUMSUM": "CumSum", "PADV2": "PadV2"}
BEFORE, BEHIND = "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"
CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")


def slimmed(content: bytes) -> Any:
    """Returns a model without names, with whole dilated convolutions, in the order that needs the least memory."""
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    flatbuffer_utils.strip_strings(model)
    make_dilated(model)
    _reorder(model)
    _prune(model)
    return model


def names_of(model: Any) -> list[str]:
    """Returns the names of a model's operators, in their order."""
    (graph,) = model.subgraphs
    return [flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex) for operator in graph.operators]


def operators_of(model: Any) -> list[dict[str, Any]]:
    """Returns the operators that a model needs.

    Returns:
        Of each its name, version, count, and the method of `MicroMutableOpResolver` that registers it.
    """
    names = names_of(model)
    (graph,) = model.subgraphs
    versions = {
        name: model.operatorCodes[operator.opcodeIndex].version
        for name, operator in zip(names, graph.operators, strict=True)
    }
    return [
        {
            "name": name,
            "version": versions[name],
            "count": names.count(name),
            "register": f"Add{REGISTERED.get(name) or _camel(name)}",
        }
        for name in sorted(versions)
    ]


def make_dilated(model: Any) -> None:
    """Makes one operator of a dilated convolution where it stands between a re-arrangement and the reverse one.

    The converter does so itself, but not where two convolutions read the same re-arranged tensor. On a microcontroller
    that takes memory and is wrong: the interpreter there never sets the value that SPACE_TO_BATCH_ND pads with.
    """
    (graph,) = model.subgraphs
    names = names_of(model)
    made_by = {operator.outputs[0]: n for n, operator in enumerate(graph.operators)}
    readers: dict[int, list[int]] = {}
    for number, operator in enumerate(graph.operators):
        for tensor in operator.inputs:
            readers.setdefault(tensor, []).append(number)
    gone = set()
    for number, operator in enumerate(graph.operators):
        before, behind = made_by.get(operator.inputs[0], -1), readers.get(operator.outputs[0], [])
        if names[number] not in CONVOLUTIONS or before < 0 or names[before] != BEFORE:
            continue
        if len(behind) != 1 or names[behind[0]] != BEHIND or not _is_same(model, before, number, behind[0]):
            continue
        rate = int(_values(model, graph.operators[before].inputs[1])[0])
        options = operator.builtinOptions
        options.padding, options.dilationHFactor, options.dilationWFactor = schema.Padding.SAME, rate, rate
        operator.inputs = [graph.operators[before].inputs[0], *operator.inputs[1:]]
        operator.outputs = [graph.operators[behind[0]].outputs[0]]
        gone.add(behind[0])
    read = {
        tensor for n, operator in enumerate(graph.operators) if n not in gone for tensor in operator.inputs
    }
    graph.operators = [
        operator
        for number, operator in enumerate(graph.operators)
        if number not in gone and (names[number] != BEFORE or operator.outputs[0] in read)
    ]


def _is_same(model: Any, before: int, number: int, behind: int) -> bool:
    """Whether a convolution between re-arrangements is one of stride 1 that pads its borders evenly."""
    (graph,) = model.subgraphs
    first, operator, last = (graph.operators[n] for n in (before, number, behind))
    blocks, pads = _values(model, first.inputs[1]), _values(model, first.inputs[2])
    crops, options = _values(model, last.inputs[2]), operator.builtinOptions
    kernel = graph.tensors[operator.inputs[1]].shape[1:3]
    outer = [graph.tensors[tensor].shape[1:3] for tensor in (first.inputs[0], last.outputs[0])]
    even = [blocks[0] * (size - 1) // 2 for size in kernel]
    return (
        len(set(blocks)) == 1
        and blocks.tolist() == _values(model, last.inputs[1]).tolist()
        and options.padding == schema.Padding.VALID
        and (options.strideH, options.strideW) == (1, 1)
        and (options.dilationHFactor, options.dilationWFactor) == (1, 1)
        and pads[::2].tolist() == even
        and not crops[::2].any()
        and list(outer[0]) == list(outer[1])
    )


def _values(model: Any, tensor: int) -> np.ndarray:
    """Returns a constant of 32-bit integers, flat."""
    (graph,) = model.subgraphs
    return np.frombuffer(bytes(model.buffers[graph.tensors[tensor].buffer].data), "<i4")


def _reorder(model: Any) -> None:
    """Brings operators into the order that needs the least memory."""
    (graph,) = model.subgraphs
    if any(len(operator.outputs) != 1 for operator in graph.operators):
        return  # one that divides a tensor; the converter's order is a right one, too
    data = [model.buffers[tensor.buffer].data for tensor in graph.tensors]
    sizes = [  # of constants, which stay in the flash, 0
        math.prod(tensor.shape) if own is None or not len(own) else 0
        for own, tensor in zip(data, graph.tensors, strict=True)
    ]
    operations = [
        Operation(tuple(t for t in operator.inputs if t >= 0), operator.outputs[0])
        for operator in graph.operators
    ]
    order = best_order(operations, sizes, graph.outputs)
    graph.operators = [graph.operators[position] for position in order.operations]


def _prune(model: Any) -> None:
    """Leaves out tensors, their contents and kinds of operators that nothing needs."""
    (graph,) = model.subgraphs
    ends = itertools.chain.from_iterable((*o.inputs, *o.outputs) for o in graph.operators)
    tensors = _places({*ends, *graph.inputs, *graph.outputs} - {-1})
    codes = _places({operator.opcodeIndex for operator in graph.operators})
    graph.tensors = [graph.tensors[old] for old in tensors]
    graph.inputs, graph.outputs = ([tensors[old] for old in part] for part in (graph.inputs, graph.outputs))
    for operator in graph.operators:
        operator.opcodeIndex = codes[operator.opcodeIndex]
        operator.inputs = [tensors.get(old, -1) for old in operator.inputs]
        operator.outputs = [tensors[old] for old in operator.outputs]
    model.operatorCodes = [model.operatorCodes[old] for old in codes]
    model.metadata = []  # of the conversion
    model.metadataBuffer = []
    buffers = _places({0, *(tensor.buffer for tensor in graph.tensors)})  # the first is empty by convention
    for tensor in graph.tensors:
        tensor.buffer = buffers[tensor.buffer]
    model.buffers = [model.buffers[old] for old in buffers]


def _places(numbers: Iterable[int]) -> dict[int, int]:
    """Returns the new place of each number that stays."""
    return {int(old): new for new, old in enumerate(sorted(numbers))}


def _camel(name: str) -> str:
    """Returns `CONV_2D` as `Conv2D`."""
    return "".join(part if part[0].isdigit() else part.capitalize() for part in name.split("_"))
