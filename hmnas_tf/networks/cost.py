"""What the masks leave of a supernet costs, exactly, as a function of the masks.

With the binary masks as arguments the cost is a polynomial in which the masks of operations and edges stand to the
power of one; the channels of a cell enter by their number n and by n**2. At zeros and ones it is what the derived
network has, and its derivative in the mask of an operation or an edge is exactly what this mask costs: with it goes
whatever only it needs, a node, a preprocessing, a cell. For that, "any of these is 1" is written as 1 - prod(1 - mask),
no maximum. Only where a cell is left without any path, and keeps one all the same, or where cells that share a mask
need each other is the derivative not exact.

The paper has no budget; all of this is a DECISION.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from hmnas_tf.layers.binary_mask import binarize
from hmnas_tf.layers.multi_level_encoding import strongest_path
from hmnas_tf.networks.supernet import Supernet
from hmnas_tf.space.topology import INPUTS, cell_edges, edges_from, edges_into


@dataclasses.dataclass(frozen=True)
class Masks:
    """The binary masks of a supernet, as tensors or arrays of zeros and ones.

    Attributes:
        operations: for each group of cells that share them, [edges, operations].
        edges: for each group, [edges].
        widths: for each cell, then for each stem, [channels].
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
            [supernet.width(index) for index in range(len(supernet.width_masks))],
        )

    def exact(self) -> Masks:
        """Returns them in float64, in which the cost of any network is counted exactly."""
        parts = (self.operations, self.edges, self.widths)
        return Masks(*([ops.cast(mask, "float64") for mask in part] for part in parts))

    def flat(self) -> list[Any]:
        """Returns all of them in one list: operations, edges, widths."""
        return [*self.operations, *self.edges, *self.widths]


@dataclasses.dataclass(frozen=True)
class Parts:
    """Where a cost goes.

    Attributes:
        stem: of all stems.
        operations: of each cell the cost of each operation on all edges, [operations].
        preprocessings: of each cell.
        classifier: of the classifier.
    """

    stem: Any
    operations: Sequence[Any]
    preprocessings: Sequence[Any]
    classifier: Any

    def cells(self) -> list[Any]:
        """Returns the cost of each cell."""
        pairs = zip(self.operations, self.preprocessings, strict=True)
        return [ops.sum(own) + preprocessing for own, preprocessing in pairs]


class Cost(abc.ABC):
    """The cost of what binary masks leave of a supernet.

    Args:
        supernet: built, with width masks.
        num_classes: of the classifier in the end; None is the supernet's.
    """

    def __init__(self, supernet: Supernet, num_classes: int | None = None):
        self.supernet = supernet
        self.num_classes = num_classes or supernet.num_classes
        self._paths = [_path(encoding) for encoding in supernet.encodings]

    def __call__(self, masks: Masks) -> Any:
        """Returns the cost, a number of the masks' dtype; float64 counts exactly."""
        parts = self.parts(masks)
        return sum(parts.cells(), parts.stem + parts.classifier)

    def parts(self, masks: Masks) -> Parts:
        """Returns the cost of each part."""
        supernet, nodes = self.supernet, self.supernet.topology.nodes
        groups = [
            _living(*own, nodes) for own in zip(masks.operations, masks.edges, self._paths, strict=True)
        ]
        gates, nodes_alive, reads = zip(*(groups[group] for group in supernet.groups), strict=True)
        counts = [
            self._exported(float(width.shape[0]), ops.sum(mask))
            for width, mask in zip(supernet.width_masks, masks.widths, strict=True)
        ]
        counts, stems = counts[: len(supernet.cells)], counts[len(supernet.cells) :]
        # What a cell puts out: the channels of its living nodes.
        made = [count * alive for count, alive in zip(counts, nodes_alive, strict=True)]
        before = [stems[0], stems[-1], *made]
        operations, preprocessings = [], []
        for index, needed in enumerate(_needed(reads)):
            operations.append(needed * self._of_operations(index, gates[index], counts[index]))
            of_inputs = [
                reads[index][source]
                * self._of_preprocess(index, source, counts[index], before[index + source])
                for source in range(INPUTS)
            ]
            preprocessings.append(needed * sum(of_inputs))
        return Parts(self._of_stems(stems), operations, preprocessings, self._of_classifier(made[-1]))

    def _exported(self, most: float, count: Any) -> Any:
        """Returns how many channels what has so many at most has where it is counted."""
        return count

    @abc.abstractmethod
    def _of_stems(self, counts: Sequence[Any]) -> Any:
        """Returns what the stems cost by the channels that they put out."""

    @abc.abstractmethod
    def _of_operations(self, index: int, gates: Any, count: Any) -> Any:
        """Returns what each operation of a cell costs on all edges, by gates [edges, operations] and its channels."""

    @abc.abstractmethod
    def _of_preprocess(self, index: int, source: int, count: Any, read: Any) -> Any:
        """Returns the cost of preprocessing an input of a cell: `count` channels are made of the `read` ones."""

    @abc.abstractmethod
    def _of_classifier(self, read: Any) -> Any:
        """Returns the cost of the classifier by the channels that it reads."""


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
