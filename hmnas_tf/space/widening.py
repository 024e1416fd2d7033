"""Other widths for an architecture that has none of its own: how hand-ruled and random ones are made to a size.

The paper compares networks of different size; at one size is a DECISION.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Callable

from hmnas_tf.settings.paper import LEAST_CHANNELS
from hmnas_tf.space.genotype import Genotype


def at_width(genotype: Genotype, step: int) -> Genotype:
    """Returns an architecture with cells of other widths, in the proportions of its topology.

    Each step makes one cell wider, in turn, by as much as brings the widest cells one channel: the finest ladder on
    which every network has at least as many channels everywhere as the one before.

    Args:
        genotype: without widths of its own.
        step: 0 or more; at 0 every cell has `LEAST_CHANNELS`.

    >>> from hmnas_tf.space.published import published
    >>> darts = published("DARTS_V2", initial_channels=4, cells=3)
    >>> [at_width(darts, step).channels(2) for step in (0, 14 * 3 + 2, 15 * 3)]
    [2, 14, 15]
    """
    topology = genotype.topology
    widest = max(plan.channels for plan in topology.plans)
    whole, wider = divmod(step, len(topology.plans))
    widths = [
        max(LEAST_CHANNELS, round(plan.channels * (whole + (plan.index < wider)) / widest))
        for plan in topology.plans
    ]
    initial = max(
        math.ceil(width * topology.initial_channels / plan.channels)
        for width, plan in zip(widths, topology.plans, strict=True)
    )
    topology = dataclasses.replace(topology, initial_channels=initial + initial % 2)
    if widths == [plan.channels for plan in topology.plans]:
        return Genotype(topology, genotype.cells)
    cells = (cell._replace(channels=width) for cell, width in zip(genotype.cells, widths, strict=True))
    return Genotype(topology, tuple(cells))


def widened(genotype: Genotype, fits: Callable[[Genotype], bool]) -> Genotype:
    """Returns the widest architecture of the ladder of `at_width` that fits.

    Args:
        genotype: without widths of its own.
        fits: says whether an architecture is small enough: the narrowest is, none that is wider than one that is not.
    """
    return at_width(genotype, last_step(lambda step: step == 0 or fits(at_width(genotype, step))))


def last_step(fits: Callable[[int], bool]) -> int:
    """Returns the last step, from 0, that fits; -1 if none does. After one that does not fit none does.

    >>> last_step(lambda step: step**2 < 50)
    7
    """
    most = 1
    while fits(most):
        most *= 2
    return bisect.bisect_left(range(most), True, key=lambda step: not fits(step)) - 1
