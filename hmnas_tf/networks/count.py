"""Parameters and multiply-adds of what the masks leave of a supernet: what `counting.size_of` counts of it, derived.

The paper has no budget; all of this is a DECISION.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import ops

from hmnas_tf.layers.batch_norm import BatchNorm
from hmnas_tf.layers.cell import Cell
from hmnas_tf.layers.masked_depthwise_conv2d import MaskedDepthwiseConv2D
from hmnas_tf.layers.masked_kernel import MaskedKernel
from hmnas_tf.networks.cost import Cost
from hmnas_tf.networks.supernet import Supernet
from hmnas_tf.space.topology import cell_edges, edges_from


@dataclasses.dataclass(frozen=True)
class Measure:
    """What a budget can be of.

    Attributes:
        of_kernel: what a convolution costs, all its edges together.
        of_channel: what each channel of a batch normalization costs.
        of_bias: what each output of the classifier costs besides its kernel.
    """

    of_kernel: Callable[[MaskedKernel], float]
    of_channel: float
    of_bias: float


def _parameters(kernel: MaskedKernel) -> float:
    return float(np.prod(kernel.kernel.shape))


def _multiply_adds(kernel: MaskedKernel) -> float:
    return _parameters(kernel) * kernel.positions


MEASURES: dict[str, Measure] = {
    "multiply_adds": Measure(_multiply_adds, 0.0, 0.0),
    "parameters": Measure(_parameters, 2.0, 1.0),
}


class Count(Cost):
    """What `counting.size_of` counts of the derived network: `parameters` its `params`, `multiply_adds` its `flops`.

    Args:
        supernet: built, with width masks.
        measure: name in `MEASURES`.
        num_classes: of the classifier in the end; None is the supernet's.
    """

    def __init__(self, supernet: Supernet, measure: str, num_classes: int | None = None):
        super().__init__(supernet, num_classes)
        self.measure = MEASURES[measure]
        # Of each cell the coefficients of n**2 and of n, each [edges, operations].
        self._cells = [self._coefficients(cell) for cell in supernet.cells]

    def _coefficients(self, cell: Cell) -> np.ndarray:
        found = np.zeros((2, len(cell_edges(cell.nodes)), len(cell.operations)))
        for mixed, rows in zip(cell.mixed, edges_from(cell.nodes), strict=True):
            of_source = [_coefficients(c, self.measure) for c in mixed.candidates]
            found[:, list(rows)] = np.transpose(of_source)[:, None]
        return found

    def _of_stems(self, counts: Sequence[Any]) -> Any:
        total, read = 0.0, float(self.supernet.image_shape[-1])
        for stem, count in zip(self.supernet.stems, counts, strict=True):
            for conv, made in zip(stem.convs, [*map(float, stem.filters[:-1]), count], strict=True):
                *_, inputs, filters = conv.kernel.shape
                total += self.measure.of_kernel(conv) / (inputs * filters) * read * made
                total += self.measure.of_channel * made
                read = made
        return total

    def _of_classifier(self, read: Any) -> Any:
        return read * self.num_classes + self.measure.of_bias * self.num_classes

    def _of_operations(self, index: int, gates: Any, count: Any) -> Any:
        square, linear = (ops.sum(gates * ops.cast(own, gates.dtype), axis=0) for own in self._cells[index])
        return square * count * count + linear * count

    def _of_preprocess(self, index: int, source: int, count: Any, read: Any) -> Any:
        preprocess = self.supernet.cells[index].preprocess[source]
        kernels = [layer for layer in preprocess._flatten_layers() if isinstance(layer, MaskedKernel)]
        # Of a factorized reduce both kernels together make all channels, at the same positions.
        each = sum(self.measure.of_kernel(kernel) for kernel in kernels) / sum(
            kernel.kernel.shape[1] * kernel.kernel.shape[2] for kernel in kernels
        )
        return count * read * each + self.measure.of_channel * count


def _coefficients(candidate: Any, measure: Measure) -> tuple[float, float]:
    """Returns the cost of one edge's operation by its channels n: the coefficients of n**2 and of n."""
    square = linear = 0.0
    for layer in candidate._flatten_layers():
        if isinstance(layer, MaskedKernel):
            of_edge = measure.of_kernel(layer) / candidate.edges
            if isinstance(layer, MaskedDepthwiseConv2D):
                linear += of_edge / candidate.channels
            else:
                square += of_edge / candidate.channels**2
        elif isinstance(layer, BatchNorm):
            linear += measure.of_channel * layer.channels / candidate.channels
    return square, linear
