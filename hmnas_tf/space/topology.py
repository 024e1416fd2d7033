"""Topology of cells and of the network they are stacked into (paper §4.1; DARTS, arXiv:1806.09055, Appendix A)."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import NamedTuple

from hmnas_tf.settings.paper import STEM_MULTIPLIER

INPUTS = 2  # a cell reads the outputs of the two cells before it
REDUCE_IN = ("operations", "preprocessing", "pooling")

CELL_SHARINGS = {  # which cells share alpha, beta and their masks: group of a cell by its plan
    "all": lambda cell: 0,
    "cell": lambda cell: cell.index,
    "type": lambda cell: int(cell.reduction),
}


class Edge(NamedTuple):
    """A directed edge of a cell; nodes 0 and 1 are the inputs, 2, 3, ... the intermediate nodes.

    >>> Edge(source=0, target=2)
    Edge(source=0, target=2)
    """

    source: int
    target: int


def cell_edges(nodes: int) -> tuple[Edge, ...]:
    """Returns the edges of a fully connected cell, target by target and source by source: rows of alpha and beta.

    Args:
        nodes: intermediate nodes; 4 give 2 + 3 + 4 + 5 = 14 edges.

    >>> [(edge.source, edge.target) for edge in cell_edges(2)]
    [(0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
    """
    return tuple(Edge(s, t) for t in range(INPUTS, INPUTS + nodes) for s in range(t))


def edges_into(nodes: int) -> tuple[slice, ...]:
    """Returns, for each intermediate node, the slice of `cell_edges` that holds its incoming edges."""
    stops = [sum(range(INPUTS, INPUTS + n + 1)) for n in range(nodes)]
    return tuple(slice(stop - INPUTS - n, stop) for n, stop in enumerate(stops))


def edges_from(nodes: int) -> tuple[tuple[int, ...], ...]:
    """Returns, for each node that anything can leave, the rows of `cell_edges` that hold its outgoing edges.

    >>> edges_from(2)
    ((0, 2), (1, 3), (4,))
    """
    edges = cell_edges(nodes)
    sources = range(INPUTS + nodes - 1)
    return tuple(tuple(row for row, edge in enumerate(edges) if edge.source == s) for s in sources)


def _require_known(setting: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        raise ValueError(f"{setting}={name!r} is unknown: it must be one of {', '.join(sorted(known))}.")


@dataclasses.dataclass(frozen=True)
class CellPlan:
    """Where a cell stands: its channels, whether it halves the resolution and in what, and whether the one before did.

    >>> plans = Topology(initial_channels=16, cells=3, nodes=4, operations=("identity",)).plans
    >>> [(plan.channels, plan.reduction) for plan in plans]
    [(16, False), (32, True), (64, True)]
    """

    index: int
    channels: int
    reduction: bool
    previous_reduction: bool
    reduce_in: str = "operations"

    def __post_init__(self):
        _require_known("reduce_in", self.reduce_in, REDUCE_IN)

    def preprocessing_strides(self, source: int) -> int:
        """Returns the stride in which an input is preprocessed, 1 or 2."""
        if self.reduce_in == "operations":
            return 2 if self.previous_reduction and source == 0 else 1
        return min(2, self._strides(source))

    def strides(self, source: int) -> int:
        """Returns the stride of edges that leave `source`, 1 or 2: what preprocessing has left to halve."""
        return self._strides(source) // self.preprocessing_strides(source) if source < INPUTS else 1

    def _strides(self, source: int) -> int:
        """Returns how many times higher the resolution of an input is than that of the cell's output."""
        return (2 if self.reduction else 1) * (2 if self.previous_reduction and source == 0 else 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Topology:
    """Shape of a network of cells, independent of its operations' weights.

    Args:
        initial_channels: C of the first cell; it doubles at each reduction cell.
        cells: number of cells; those at cells // 3 and 2 * cells // 3 are reduction cells.
        nodes: intermediate nodes of a cell.
        operations: names of the candidate operations, columns of alpha.
        stem: `cifar` (one convolution of 3C channels), `narrow` (one of C), or `imagenet` (three of stride 2).
        partial_channels: K; operations read and make one K-th of a node's channels, the others pass by.
        reduce_in: what of a reduction cell has stride 2: its `operations` on edges from the inputs (DARTS), or the
            `preprocessing` of the inputs, so that operations compute at half the resolution, or a `pooling` before
            that, so that every pixel is read. An input of four times the output's resolution is halved in both.

    Raises:
        ValueError: if the stem or what halves is unknown, the operations are not different ones, or a K-th of the
            channels is odd.
    """

    initial_channels: int
    cells: int
    nodes: int
    operations: tuple[str, ...]
    stem: str = "cifar"
    partial_channels: int = 1
    reduce_in: str = "operations"

    def __post_init__(self):
        if not self.operations or len(set(self.operations)) != len(self.operations):
            raise ValueError(
                f"operations={','.join(self.operations)!r} must be different ones, at least one."
            )
        _require_known("stem", self.stem, STEMS)
        _require_known("reduce_in", self.reduce_in, REDUCE_IN)
        if self.partial_channels > 1 and self.initial_channels % (2 * self.partial_channels):
            raise ValueError(  # a factorized reduce makes the part in two halves
                f"initial_channels={self.initial_channels} cannot be split by partial_channels={self.partial_channels} "
                f"into even parts: take a multiple of {2 * self.partial_channels}."
            )

    @property
    def edges(self) -> tuple[Edge, ...]:
        """The edges of every cell."""
        return cell_edges(self.nodes)

    @property
    def reductions(self) -> frozenset[int]:
        """Indices of the reduction cells."""
        return frozenset((self.cells // 3, 2 * self.cells // 3))

    @property
    def plans(self) -> tuple[CellPlan, ...]:
        """One plan for each cell, in order."""
        channels, before, plans = self.initial_channels, STEMS[self.stem].reduces, []
        for index in range(self.cells):
            reduction = index in self.reductions
            channels *= 2 if reduction else 1
            plans.append(CellPlan(index, channels, reduction, before, self.reduce_in))
            before = reduction
        return tuple(plans)

    @property
    def stem_channels(self) -> tuple[int, ...]:
        """How many channels each stem puts out."""
        plan = STEMS[self.stem]
        return (plan.multiplier * self.initial_channels,) * (2 if plan.reduces else 1)

    def pixels(self, index: int, size: int) -> int:
        """Returns the height (or width) of a cell's output for images of height (or width) `size`."""
        halvings = sum(reduction <= index for reduction in self.reductions)
        return -(-size // (STEMS[self.stem].divides * 2**halvings))

    def smallest_image(self) -> int:
        """Returns the least height and width, in pixels, that leave two pixels a side before the last reduction."""
        return STEMS[self.stem].divides * 2 ** len(self.reductions)


class StemPlan(NamedTuple):
    """What a stem does: factor on C, factor on the resolution, and whether its two outputs differ in resolution.

    >>> STEMS["imagenet"]
    StemPlan(multiplier=1, divides=8, reduces=True)
    """

    multiplier: int
    divides: int
    reduces: bool


STEMS = {
    "cifar": StemPlan(STEM_MULTIPLIER, 1, False),
    # DECISION, ours: 3C channels and what reads them are a large part of what a small network computes.
    "narrow": StemPlan(1, 1, False),
    "imagenet": StemPlan(1, 8, True),
}


def sharing_groups(plans: Sequence[CellPlan], sharing: str) -> tuple[int, ...]:
    """Returns for each cell the number of its group; cells of a group share alpha and beta. Groups count from 0.

    >>> plans = Topology(initial_channels=16, cells=4, nodes=4, operations=("identity",)).plans
    >>> sharing_groups(plans, "type")
    (0, 1, 1, 0)
    """
    keys = [CELL_SHARINGS[sharing](plan) for plan in plans]
    order = list(dict.fromkeys(keys))
    return tuple(order.index(key) for key in keys)


def first_of_groups(groups: Sequence[int], cells: Sequence[int]) -> list[int]:
    """Returns of the given cells, in order, the first of each group; `groups` as from `sharing_groups`.

    >>> first_of_groups((0, 1, 1, 0), range(4))
    [0, 1]
    """
    return list({groups[cell]: cell for cell in reversed(cells)}.values())
