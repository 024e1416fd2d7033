"""What masks leave is brought within budgets exactly, after mask search (a DECISION; the paper has no budget).

Masks are ordered by how far they are above the threshold for what they cost, (M^r - tau) / marginal cost. The lowest go
until every budget holds; then what still fits comes back, highest first. Where nothing fits and too little is used,
one that is taken is exchanged for one that is not, or as many as have to go for it. A budget is never exceeded.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import numpy as np

from hmnas_tf.networks.supernet import Supernet
from hmnas_tf.stages.budgets import Budget
from hmnas_tf.stages.selection import Item, Margins, Selection, price_of

USED = 0.97  # of the tightest budget: below it what mask search took away comes back too
TRIED = 50  # pairs of an exchange, each of which is measured


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
    before = selection.taken()
    _shrink(selection, margins, bounds)
    _fill(selection, margins, bounds)
    while _exchange(selection, margins, bounds) or _make_room(selection, margins, bounds):
        _fill(selection, margins, bounds)
    _write(supernet, selection)
    before, after = ([*operations, *widths] for operations, widths in (before, selection.taken()))
    return {
        "gone": sum(int((b & ~a).sum()) for b, a in zip(before, after, strict=True)),
        "back": sum(int((a & ~b).sum()) for b, a in zip(before, after, strict=True)),
    }


def first_to_go(
    selection: Selection,
    margins: Margins,
    prices: Sequence[list[np.ndarray]],
    weights: np.ndarray,
    kept: Item | None = None,
) -> Item | None:
    """Returns what is the lowest above the threshold for what it costs, of what can go; None if nothing can."""
    ranked = [
        (margins.of(item) / price, item)
        for item in selection.items(taken=True)
        if item != kept and (price := price_of(item, prices, weights)) > 0 and selection.can_go(item)
    ]
    return min(ranked)[1] if ranked else None


def _shrink(selection: Selection, margins: Margins, bounds: np.ndarray, kept: Item | None = None) -> None:
    """Takes away the lowest but one until the bounds hold; where that is not enough, all that can go."""
    while True:
        totals, *prices = selection.measure()
        over = totals > bounds
        if not over.any():
            return
        weights = over / bounds
        item = first_to_go(selection, margins, prices, weights, kept)
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


def _make_room(selection: Selection, margins: Margins, bounds: np.ndarray) -> bool:
    """Takes one item for as many others as have to go for it, if more is used then; returns whether it did."""
    used = np.max(selection.measure()[0] / bounds)
    if used >= USED:
        return False
    absent = sorted(selection.items(taken=False), key=margins.of, reverse=True)
    before = selection.taken()
    for new in absent[:TRIED]:
        selection.put(new, True)
        _shrink(selection, margins, bounds, new)
        _fill(selection, margins, bounds)
        if np.max(selection.measure()[0] / bounds) > used:
            return True
        selection.operations, selection.widths = copy.deepcopy(before)
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
