"""What the next smaller and the next larger network would have been, and cost (a DECISION; the paper has no budget)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hmnas_tf.networks.supernet import Supernet
from hmnas_tf.space.topology import cell_edges
from hmnas_tf.stages.budgets import Budget
from hmnas_tf.stages.projection import first_to_go
from hmnas_tf.stages.selection import CHANNEL, Item, Margins, Selection, price_of

SMALLER, LARGER = "smaller", "larger"


def neighbours(supernet: Supernet, budgets: Sequence[Budget]) -> dict[str, tuple[str, np.ndarray]]:
    """Returns the networks that differ from what the masks leave by the one thing that would go, or come, next.

    That is the lowest above the threshold for what it costs, as the projection takes it, and the highest below.

    Args:
        supernet: after mask search, within its budgets.
        budgets: whose costs are told.

    Returns:
        By direction, `SMALLER` and `LARGER`, the change in words and what the network costs with it, [budgets]. There
        is no direction in which nothing can change.
    """
    selection, margins = Selection(supernet, budgets), Margins(supernet)
    _, *prices = selection.measure()
    weights = np.array([1.0 / budget.asked for budget in budgets])
    absent = [
        (margins.of(item), -price, item)
        for item in selection.items(taken=False)
        if (price := price_of(item, prices, weights)) > 0
    ]
    items = {
        SMALLER: first_to_go(selection, margins, prices, weights),
        LARGER: max(absent)[2] if absent else None,
    }
    found = {}
    for direction, item in items.items():
        if item:
            selection.put(item, direction == LARGER)
            found[direction] = (_in_words(supernet, item, direction), selection.measure()[0])
            selection.put(item, direction == SMALLER)
    return found


def _in_words(supernet: Supernet, item: Item, direction: str) -> str:
    kind, number, place = item
    sign = "with" if direction == LARGER else "without"
    if kind == CHANNEL:
        own = f"cell {number}" if number < len(supernet.cells) else "the stem"
        return f"{sign} a channel of {own}"
    edge = cell_edges(supernet.topology.nodes)[place[0]]
    cells = ", ".join(str(cell) for cell, group in enumerate(supernet.groups) if group == number)
    operation = supernet.topology.operations[place[1]]
    return f"{sign} {operation} from node {edge.source} to {edge.target} of cell {cells}"
