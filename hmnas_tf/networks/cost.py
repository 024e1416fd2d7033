"""What the masks leave of a supernet costs: parameters and multiply-adds, exactly, as a function of the masks.

With the binary masks as arguments the cost is a polynomial in which the masks of operations and edges stand to the
power of one; the channels of a cell enter by their number n and by n**2. At zeros and ones it is what the derived
network has, and its derivative in the mask of an operation or an edge is exactly what this mask costs: with it goes
whatever only it needs, a node, a preprocessing, a cell. For that, "any of these is 1" is written as 1 - prod(1 - mask),
no maximum. Only where a cell is left without any path, and keeps one all the same, is the derivative not exact.

The paper has no budget; all of this is a DECISION.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import ops

from hmnas_tf.layers.batch_norm import BatchNorm
from hmnas_tf.layers.binary_mask import binarize
from hmnas_tf.layers.cell import Cell
from hmnas_tf.layers.masked_depthwise_conv2d import MaskedDepthwiseConv2D
from hmnas_tf.layers.masked_kernel import MaskedKernel
from hmnas_tf.layers.multi_level_encoding import strongest_path
from hmnas_tf.networks.supernet import Supernet
from hmnas_tf.space.topology import INPUTS, cell_edges, edges_from, edges_into


@dataclasses.dataclass(frozen=True)
class Masks:
    """The binary masks of a supernet, as tensors or arrays of zeros and ones.

    Attributes:
        operations: for each group of cells that share them, [edges, operations].
        edges: for each group, [edges].
        widths: for each cell, [channels].
    """

    operations: Sequence[Any]
    edges: Sequence[Any]
    widths: Sequence[Any]

    @staticmethod
    def of(supernet: Supernet) -> Masks:
        """Returns those of a supernet with width masks; their gradients pass straight through to the real masks."""
        encodings = supernet.encodings
        return Masks(
            [binarize(encoding.operation_mask, encoding.threshold) for encoding in encodings],
            [binarize(encoding.edge_mask, encoding.threshold) for encoding in encodings],
            [supernet.width(index) for index in range(len(supernet.cells))],
        )

    def exact(self) -> Masks:
        """Returns them in float64, in which the cost of any network is counted exactly."""
        parts = (self.operations, self.edges, self.widths)
        return Masks(*([ops.cast(mask, "float64") for mask in part] for part in parts))

    def flat(self) -> list[Any]:
        """Returns all of them in one list: operations, edges, widths."""
        return [*self.operations, *self.edges, *self.widths]


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


class Cost(abc.ABC):
    """The cost of what binary masks leave of a supernet.

    Args:
        supernet: built, with width masks.
        num_classes: of the classifier in the end; None is the supernet's.

    Attributes:
        fixed: the cost of what no mask removes.
    """

    fixed: float

    def __init__(self, supernet: Supernet, num_classes: int | None = None):
        self.supernet = supernet
        self.num_classes = num_classes or supernet.num_classes
        self._paths = [_path(encoding) for encoding in supernet.encodings]

    def __call__(self, masks: Masks) -> Any:
        """Returns the cost, a number of the masks' dtype; float64 counts exactly."""
        stem, cells, classifier = self.parts(masks)
        return sum(cells, stem + classifier)

    def parts(self, masks: Masks) -> tuple[float, list[Any], Any]:
        """Returns the cost of the stems, of each cell, and of the classifier."""
        supernet, nodes = self.supernet, self.supernet.topology.nodes
        groups = [
            _living(*own, nodes) for own in zip(masks.operations, masks.edges, self._paths, strict=True)
        ]
        cells = range(len(supernet.cells))
        gates, nodes_alive, reads = zip(*(groups[group] for group in supernet.groups), strict=True)
        counts = [self._exported(index, ops.sum(width)) for index, width in enumerate(masks.widths)]
        # What a cell puts out: the channels of its living nodes.
        made = [count * alive for count, alive in zip(counts, nodes_alive, strict=True)]
        stems = [float(stem.filters[-1]) for stem in supernet.stems]
        before = [stems[0], stems[-1], *made]
        parts = []
        for index, needed in zip(cells, _needed(reads), strict=True):
            own = self._of_cell(index, gates[index], counts[index])
            for source in range(INPUTS):
                each = self._of_preprocess(index, source, counts[index], before[index + source])
                own = own + reads[index][source] * each
            parts.append(needed * own)
        return self.fixed, parts, self._of_classifier(made[-1])

    def _exported(self, index: int, count: Any) -> Any:
        """Returns how many channels a cell has where it is counted."""
        return count

    @abc.abstractmethod
    def _of_cell(self, index: int, gates: Any, count: Any) -> Any:
        """Returns the cost of a cell's operations by their gates [edges, operations] and its channels."""

    @abc.abstractmethod
    def _of_preprocess(self, index: int, source: int, count: Any, read: Any) -> Any:
        """Returns the cost of preprocessing an input of a cell: `count` channels are made of the `read` ones."""

    @abc.abstractmethod
    def _of_classifier(self, read: Any) -> Any:
        """Returns the cost of the classifier by the channels that it reads."""


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
        self.fixed = sum(self.measure.of_kernel(c) for stem in supernet.stems for c in stem.convs)
        self.fixed += sum(self.measure.of_channel * sum(stem.filters) for stem in supernet.stems)

    def _coefficients(self, cell: Cell) -> np.ndarray:
        found = np.zeros((2, len(cell_edges(cell.nodes)), len(cell.operations)))
        for mixed, rows in zip(cell.mixed, edges_from(cell.nodes), strict=True):
            of_source = [_coefficients(c, self.measure) for c in mixed.candidates]
            found[:, list(rows)] = np.transpose(of_source)[:, None]
        return found

    def _of_classifier(self, read: Any) -> Any:
        return read * self.num_classes + self.measure.of_bias * self.num_classes

    def _of_cell(self, index: int, gates: Any, count: Any) -> Any:
        square, linear = (ops.cast(values, gates.dtype) for values in self._cells[index])
        return ops.sum(gates * square) * count * count + ops.sum(gates * linear) * count

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
            linear += measure.of_channel
    return square, linear


def _path(encoding: Any) -> np.ndarray:
    """Returns what a cell without any path would be left with, [edges, operations]; frozen in mask search."""
    operations, edges = encoding.importances()
    return ops.convert_to_numpy(strongest_path(operations * ops.expand_dims(edges, -1), encoding.nodes))


def any_of(values: Any, axis: int = 0) -> Any:
    """Returns 1 - prod(1 - value): of zeros and ones whether any is 1."""
    return 1.0 - ops.prod(1.0 - values, axis=axis)


def _living(of_operations: Any, of_edges: Any, path: np.ndarray, nodes: int) -> tuple[Any, Any, list[Any]]:
    """Returns what takes part in the cells of a group.

    The gates are those of `multi_level_encoding.living_gates`, but differentiable also in what a node's death takes
    along.

    Returns:
        The gates [edges, operations]; how many intermediate nodes are alive; for both inputs whether they are read.
    """
    # An edge stands outside the product over its operations, so that its mask, too, has the power of one.
    on = of_edges * any_of(of_operations, axis=1)
    path = ops.cast(path, on.dtype) * ops.prod(1.0 - _alive(on, nodes)[INPUTS:])
    on = on + ops.sum(path, axis=1)
    alive = _alive(on, nodes)
    sources = ops.take(alive, np.array([edge.source for edge in cell_edges(nodes)]))
    gates = of_operations * ops.expand_dims(of_edges * sources, -1) + path
    reads = [any_of(ops.take(on, np.array(rows), axis=0)) for rows in edges_from(nodes)[:INPUTS]]
    return gates, ops.sum(alive[INPUTS:]), reads


def _alive(on: Any, nodes: int) -> Any:
    """Returns for each node, inputs first, whether anything reaches it by edges that are `on`: [2 + nodes]."""
    alive = ops.ones((INPUTS,), on.dtype)
    for part in edges_into(nodes):
        reached = any_of(on[part.start : part.stop] * alive)
        alive = ops.concatenate([alive, ops.expand_dims(reached, 0)])
    return alive


def _needed(reads: Sequence[Sequence[Any]]) -> list[Any]:
    """Returns for each cell whether it is on a path to the output."""
    needed: list[Any] = [1.0] * len(reads)
    for index in reversed(range(len(reads) - 1)):
        later = [needed[i] * reads[i][s] for i, s in ((index + 1, 1), (index + 2, 0)) if i < len(reads)]
        needed[index] = any_of(ops.stack(later))
    return needed
