"""Which variable of the project's supernet is which tensor of the PyTorch one, and copies from one to the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import keras
import numpy as np
import torch
from reference import Supernet as TorchSupernet
from torch import nn

from hmnas_tf.layers.batch_norm import BatchNorm
from hmnas_tf.layers.factorized_reduce import FactorizedReduce
from hmnas_tf.layers.flat import Part
from hmnas_tf.layers.masked_conv2d import MaskedConv2D
from hmnas_tf.layers.masked_depthwise_conv2d import MaskedDepthwiseConv2D
from hmnas_tf.layers.masked_kernel import MaskedKernel
from hmnas_tf.layers.operations import Identity, Pool, SeparableConvolution, SeparableUnit, Zero
from hmnas_tf.layers.relu_pointwise_norm import ReluPointwiseNorm
from hmnas_tf.layers.stem import Stem
from hmnas_tf.networks.supernet import Supernet
from hmnas_tf.space.topology import edges_from

THRESHOLD = 5e-3  # tau
CONVOLUTION = (2, 3, 1, 0)  # axes of a PyTorch kernel in Keras' order
DEPTHWISE = (2, 3, 0, 1)


@dataclasses.dataclass(frozen=True)
class Match:
    """A variable and the PyTorch tensors that hold the same values.

    Args:
        variable: of the project's supernet, or a layer's part of one.
        tensors: one, or one for each edge whose values the variable stacks along its first axis.
        axes: of a PyTorch tensor, in the variable's order.
        stacked: whether the variable's first axis counts edges. If it has length 1, all edges share the values.
        real_mask: of a masked kernel.
    """

    variable: keras.Variable | Part
    tensors: Sequence[torch.Tensor]
    axes: tuple[int, ...]
    stacked: bool = False
    real_mask: keras.Variable | Part | None = None

    @property
    def mask(self) -> np.ndarray | float:
        """The binary mask of a kernel; 1 for everything else."""
        return 1.0 if self.real_mask is None else (np.asarray(self.real_mask) > THRESHOLD).astype(np.float64)

    def write(self, value: np.ndarray) -> None:
        """Copies a value of the variable, masked, to PyTorch."""
        value = value * self.mask
        if not self.stacked:
            value = value[None]
        rows = np.broadcast_to(value, (len(self.tensors), *value.shape[1:]))
        for tensor, row in zip(self.tensors, rows, strict=True):
            row = row.reshape([tensor.shape[axis] for axis in self.axes])
            with torch.no_grad():
                tensor.copy_(torch.from_numpy(row.transpose(np.argsort(self.axes)).copy()))

    def in_our_layout(self, values: Sequence[torch.Tensor]) -> np.ndarray:
        """Returns what PyTorch holds for `tensors` (themselves, gradients) as an array like the variable."""
        shape = tuple(self.variable.shape)[int(self.stacked) :]
        rows = [value.detach().permute(self.axes).reshape(shape).numpy() for value in values]
        return np.stack(rows) if self.stacked else rows[0]


def whole(variable: keras.Variable | Part) -> keras.Variable:
    """Returns the variable that a value lies in."""
    return variable.flat.variable if isinstance(variable, Part) else variable


def value_in(values: dict[str, np.ndarray], variable: keras.Variable | Part) -> np.ndarray:
    """Returns what `values`, arrays by the paths of variables, say of a variable or a part of one."""
    found = values[whole(variable).path]
    return np.asarray(variable.of(found)) if isinstance(variable, Part) else found


def matches(ours: Supernet, theirs: TorchSupernet) -> list[Match]:
    """Returns a match for every variable but the real masks, statistics of batch normalizations included."""
    found = [
        match
        for layer, modules in _pairs(ours, theirs)
        for match in (_of_norm if isinstance(layer, BatchNorm) else _of_kernel)(layer, modules)
    ]
    found += [
        Match(ours.classifier.kernel, [theirs.classifier.weight], (1, 0)),
        Match(ours.classifier.bias, [theirs.classifier.bias], (0,)),
    ]
    for encoding, alpha, beta in zip(ours.encodings, theirs.alpha, theirs.beta, strict=True):
        found += [Match(encoding.alpha, [alpha], (0, 1)), Match(encoding.beta, [beta], (0,))]
    return found


def _of_kernel(layer: MaskedKernel, modules: Sequence[nn.Conv2d]) -> Iterator[Match]:
    axes = DEPTHWISE if isinstance(layer, MaskedDepthwiseConv2D) else CONVOLUTION
    stacked = not isinstance(layer, MaskedConv2D)
    yield Match(layer.kernel, [module.weight for module in modules], axes, stacked, layer.real_mask)


def _of_norm(layer: BatchNorm, modules: Sequence[nn.BatchNorm2d]) -> Iterator[Match]:
    names = {"moving_mean": "running_mean", "moving_variance": "running_var"}
    if layer.affine:
        names |= {"gamma": "weight", "beta": "bias"}
    for own, other in names.items():
        yield Match(getattr(layer, own), [getattr(module, other) for module in modules], (0,), stacked=True)


def _pairs(ours: Supernet, theirs: TorchSupernet) -> Iterator[tuple[keras.layers.Layer, list[nn.Module]]]:
    """Yields each masked convolution and batch normalization with the modules of its edges."""
    for stem, module in zip(ours.stems, theirs.stems, strict=True):
        yield from _aligned(stem, [module])
    for cell, other in zip(ours.cells, theirs.cells, strict=True):
        for preprocess, module in zip(cell.preprocess, other.preprocess, strict=True):
            yield from _aligned(preprocess, [module])
        for mixed, rows in zip(cell.mixed, edges_from(cell.nodes), strict=True):
            for column, candidate in enumerate(mixed.candidates):
                yield from _aligned(candidate, [other.edges[row].operations[column] for row in rows])


def _aligned(
    layer: keras.layers.Layer, modules: Sequence[nn.Module]
) -> Iterator[tuple[keras.layers.Layer, list[nn.Module]]]:
    kinds = (nn.Conv2d, nn.BatchNorm2d)
    theirs = [[part for part in module.modules() if isinstance(part, kinds)] for module in modules]
    for own, *others in zip(_parts(layer), *theirs, strict=True):
        yield own, others


def _parts(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Returns the masked convolutions and batch normalizations of a layer, in the order of computation."""
    match layer:
        case Stem():
            pairs = zip(layer.convs, layer.batch_norms, strict=True)
            return [part for pair in pairs for part in pair]
        case SeparableConvolution():
            return _parts(layer.first) + _parts(layer.second)
        case SeparableUnit():
            return [layer.depthwise, layer.pointwise, layer.batch_norm]
        case ReluPointwiseNorm():
            return [layer.pointwise, layer.batch_norm]
        case FactorizedReduce():
            return [layer.even, layer.odd, layer.batch_norm]
        case Pool():
            return [layer.batch_norm]
        case Identity():
            return [] if layer.reduce is None else _parts(layer.reduce)
        case Zero():
            return []
    raise TypeError(f"{type(layer).__name__} has no counterpart in the reference.")
