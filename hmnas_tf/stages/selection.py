"""What can be taken of a supernet to keep budgets, operations and channels, with costs and margins (a DECISION)."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from hmnas_tf.networks.supernet import Supernet
from hmnas_tf.settings.paper import LEAST_CHANNELS
from hmnas_tf.space.topology import INPUTS, cell_edges
from hmnas_tf.stages.budgets import Budget

OPERATION, CHANNEL = "operation", "channel"
Item = tuple[str, int, tuple[int, ...]]  # kind, group or number of width mask, place in its array


class Selection:
    """Which operations of each group and which channels of each cell and stem are taken, and what that costs.

    Args:
        supernet: with width masks; only read.
        budgets: whose costs count.
    """

    def __init__(self, supernet: Supernet, budgets: Sequence[Budget]):
        self.supernet = supernet
        self.budgets = budgets
        self.operations = [
            np.array(e.operation_mask.numpy() > e.threshold) & (e.edge_mask.numpy() > e.threshold)[:, None]
            for e in supernet.encodings
        ]
        self.widths = [np.array(supernet.width(index)) > 0 for index in range(len(supernet.width_masks))]
        sources = [edge.source for edge in cell_edges(supernet.topology.nodes)]
        self.from_inputs = np.array(sources) < INPUTS  # rows of edges

    def taken(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Returns copies of what is taken: operations of each group, and channels of each cell and stem."""
        return copy.deepcopy((self.operations, self.widths))

    def measure(self) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
        """Returns the costs [budgets], and what each operation and each channel costs, [budgets, ...] of each array."""
        numbers = [
            [tf.constant(part, tf.float64) for part in parts] for parts in (self.operations, self.widths)
        ]
        totals, *prices = zip(*(budget.measured(*numbers) for budget in self.budgets), strict=True)
        by_array = [[np.stack(own) for own in zip(*of_kind, strict=True)] for of_kind in prices]
        return np.array(totals), *by_array

    def items(self, *, taken: bool) -> Iterator[Item]:
        """Yields the operations and channels that are taken, or are not."""
        for kind, parts in ((OPERATION, self.operations), (CHANNEL, self.widths)):
            for number, part in enumerate(parts):
                for place in np.argwhere(part == taken):
                    yield kind, number, tuple(int(i) for i in place)

    def put(self, item: Item, value: bool) -> None:
        """Takes an item, or no longer."""
        kind, number, place = item
        (self.operations if kind == OPERATION else self.widths)[number][place] = value

    def can_go(self, item: Item) -> bool:
        """Returns whether its cells keep a path from an input, or enough channels, without an item."""
        kind, number, place = item
        if kind == CHANNEL:
            return self.widths[number].sum() > LEAST_CHANNELS
        first = self.operations[number][self.from_inputs]
        return not self.from_inputs[place[0]] or first.sum() > 1

    def become_smallest(self, weights: np.ndarray, margins: Margins) -> None:
        """Takes what costs least: a channel pair a cell and one operation a group, by the largest cost times weight."""
        self.widths = [np.isin(np.arange(len(m)), np.argsort(-m)[:LEAST_CHANNELS]) for m in margins.widths]
        rows = np.flatnonzero(self.from_inputs)
        count = self.operations[0].shape[1]
        choices = [(int(row), o) for row in rows for o in range(count)]
        for part in self.operations:
            part[:] = False
            part[choices[0]] = True
        for _ in range(2):  # a group's choice decides which cells another group's cells need
            for part in self.operations:
                prices = []
                for choice in choices:
                    part[:] = False
                    part[choice] = True
                    prices.append(float(np.max(self.measure()[0] * weights)))
                part[:] = False
                part[choices[int(np.argmin(prices))]] = True


class Margins:
    """How far the real masks are above the threshold: of operations, with their edges, and of channels."""

    def __init__(self, supernet: Supernet):
        tau = np.float32(supernet.threshold)
        self.operations = [
            np.minimum(e.operation_mask.numpy(), e.edge_mask.numpy()[:, None]) - tau
            for e in supernet.encodings
        ]
        self.widths = [mask.numpy() - tau for mask in supernet.width_masks]

    def of(self, item: Item) -> float:
        """Returns that of one item."""
        kind, number, place = item
        return float((self.operations if kind == OPERATION else self.widths)[number][place])


def price_of(item: Item, prices: Sequence[list[np.ndarray]], weights: np.ndarray) -> float:
    """Returns what an item costs: the sum over budgets of its cost times their weights."""
    kind, number, place = item
    own = prices[0 if kind == OPERATION else 1][number]
    return float(weights @ own[(slice(None), *place)])
