"""What masks leave is brought within budgets exactly, after mask search (a DECISION; the paper has no budget).

Masks are ordered by how far they are above the threshold for what they cost, (M^r - tau) / marginal cost. The lowest go
until every budget holds; then what still fits comes back, highest first. Where nothing fits and too little is used,
one that is taken is exchanged for one that is not. A budget is never exceeded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from hmnas_tf.config import LEAST_CHANNELS
from hmnas_tf.networks.supernet import Supernet
from hmnas_tf.space.topology import INPUTS, cell_edges
from hmnas_tf.stages.budgets import Budget

USED = 0.97  # of the tightest budget: below it what mask search took away comes back too
TRIED = 50  # pairs of an exchange, each of which is measured
OPERATION, CHANNEL = "operation", "channel"
Item = tuple[str, int, tuple[int, ...]]  # kind, group or cell, place in its array


class Selection:
    """Which operations of each group and which channels of each cell are taken, and what that costs.

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
        self.widths = [np.array(supernet.width(index)) > 0 for index in range(len(supernet.cells))]
        sources = [edge.source for edge in cell_edges(supernet.topology.nodes)]
        self.from_inputs = np.array(sources) < INPUTS  # rows of edges

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


def smallest_cost(supernet: Supernet, budgets: Sequence[Budget], weights: Sequence[float]) -> np.ndarray:
    """Returns the costs of the smallest network of a supernet, by the largest cost times weight: [budgets]."""
    selection = Selection(supernet, budgets)
    selection.become_smallest(np.array(weights), Margins(supernet))
    return selection.measure()[0]


def project(supernet: Supernet, budgets: Sequence[Budget], asked: Sequence[float] = ()) -> dict[str, int]:
    """Changes the real masks of operations, edges and channels so that every budget holds.

    Args:
        supernet: after mask search.
        budgets: feasible.
        asked: other bounds than those of the budgets, one each; none are theirs.

    Returns:
        How many operations and channels have `gone` and have come `back`.

    Raises:
        ValueError: if no choice holds all budgets.
    """
    selection, margins = Selection(supernet, budgets), Margins(supernet)
    bounds = np.array(asked or [budget.asked for budget in budgets])
    before = selection.operations, selection.widths
    before = [part.copy() for parts in before for part in parts]
    _shrink(selection, margins, bounds)
    _fill(selection, margins, bounds)
    while _exchange(selection, margins, bounds):
        _fill(selection, margins, bounds)
    after = [*selection.operations, *selection.widths]
    _write(supernet, selection)
    return {
        "gone": sum(int((b & ~a).sum()) for b, a in zip(before, after, strict=True)),
        "back": sum(int((a & ~b).sum()) for b, a in zip(before, after, strict=True)),
    }


def price_of(item: Item, prices: Sequence[list[np.ndarray]], weights: np.ndarray) -> float:
    """Returns what an item costs: the sum over budgets of its cost times their weights."""
    kind, number, place = item
    own = prices[0 if kind == OPERATION else 1][number]
    return float(weights @ own[(slice(None), *place)])


def first_to_go(
    selection: Selection, margins: Margins, prices: Sequence[list[np.ndarray]], weights: np.ndarray
) -> Item | None:
    """Returns what is the lowest above the threshold for what it costs, of what can go; None if nothing can."""
    ranked = [
        (margins.of(item) / price, item)
        for item in selection.items(taken=True)
        if (price := price_of(item, prices, weights)) > 0 and selection.can_go(item)
    ]
    return min(ranked)[1] if ranked else None


def _shrink(selection: Selection, margins: Margins, bounds: np.ndarray) -> None:
    """Takes away the lowest until the bounds hold; where that is not enough, all that can go."""
    while True:
        totals, *prices = selection.measure()
        over = totals > bounds
        if not over.any():
            return
        weights = over / bounds
        item = first_to_go(selection, margins, prices, weights)
        if item:
            selection.put(item, False)
            continue
        selection.become_smallest(1.0 / bounds, margins)
        if (selection.measure()[0] > bounds).any():
            raise ValueError(f"no network of this space is within {bounds.tolist()}.")


def _fill(selection: Selection, margins: Margins, bounds: np.ndarray) -> None:
    """Takes back what fits, the highest first; what mask search took away only as long as little is used."""
    refused: set[Item] = set()
    while True:
        totals, *prices = selection.measure()
        low = np.max(totals / bounds) < USED
        ranked = []
        for item in selection.items(taken=False):
            margin, price = margins.of(item), price_of(item, prices, 1.0 / bounds)
            if item not in refused and price > 0 and (low or margin > 0):
                ranked.append((margin / price if margin > 0 else margin, item))
        for _, item in sorted(ranked, reverse=True):
            selection.put(item, True)
            if (selection.measure()[0] <= bounds).all():
                break
            selection.put(item, False)
            refused.add(item)  # costs of what is left out only rise as more is taken
        else:
            return


def _exchange(selection: Selection, margins: Margins, bounds: np.ndarray) -> bool:
    """Takes one item for another if too little is used and more is used then; returns whether it did.

    The pair is the one whose masks lose least, among those that by their marginal costs use enough, else most.
    """
    totals, *prices = selection.measure()
    used = np.max(totals / bounds)
    if used >= USED:
        return False

    def priced(items: Iterator[Item]) -> list[tuple[Item, float, float]]:
        return [(item, price_of(item, prices, 1.0 / bounds), margins.of(item)) for item in items]

    pairs = [
        (min(used + more - less, USED), gained - lost, new, old)
        for new, more, gained in priced(selection.items(taken=False))
        for old, less, lost in priced(i for i in selection.items(taken=True) if selection.can_go(i))
        if less < more and used + more - less <= 1.0
    ]
    for *_, new, old in sorted(pairs, key=lambda pair: pair[:2], reverse=True)[:TRIED]:
        selection.put(old, False)
        selection.put(new, True)
        after = selection.measure()[0]
        if (after <= bounds).all() and np.max(after / bounds) > used:
            return True
        selection.put(new, False)
        selection.put(old, True)
    return False


def _write(supernet: Supernet, selection: Selection) -> None:
    """Gives real masks values on the right side of the threshold; those that are there already stay."""
    tau = np.float32(supernet.threshold)
    above = np.nextafter(tau, np.float32(np.inf))

    def moved(real: np.ndarray, taken: np.ndarray) -> np.ndarray:
        return np.where(taken, np.maximum(real, above), np.minimum(real, tau))

    for encoding, taken in zip(supernet.encodings, selection.operations, strict=True):
        edges = taken.any(axis=1)
        kept = np.where(
            edges[:, None], moved(encoding.operation_mask.numpy(), taken), encoding.operation_mask.numpy()
        )
        encoding.operation_mask.assign(kept)
        encoding.edge_mask.assign(moved(encoding.edge_mask.numpy(), edges))
    for mask, taken in zip(supernet.width_masks, selection.widths, strict=True):
        mask.assign(moved(mask.numpy(), taken))
