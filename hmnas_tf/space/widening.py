"""Other widths for an architecture that has none of its own: how hand-ruled and random ones are made to a size.

The paper compares networks of different size; at one size is a DECISION.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

from hmnas_tf.settings.paper import LEAST_CHANNELS
from hmnas_tf.space.genotype import Genotype

GUESSES = 8  # of `last_step`; then it doubles and halves
BEYOND = 1.05  # of a step that is guessed from smaller ones alone, so that one is soon too large


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


def widened(genotype: Genotype, size: Callable[[Genotype], float]) -> Genotype:
    """Returns the widest architecture of the ladder of `at_width` that is no larger than allowed.

    Args:
        genotype: without widths of its own.
        size: gives an architecture's size as a part of what is allowed; the narrowest's is at most 1.
    """
    return at_width(genotype, max(0, last_step(lambda step: size(at_width(genotype, step)))))


def part_of(costs: Mapping[str, float], bounds: Mapping[str, float]) -> float:
    """Returns what part of its bounds a network needs, of the one that it needs most of; above 1 it is too large.

    >>> part_of({"params": 50, "flops": 3000, "layers": 9}, {"params": 100, "flops": 4000})
    0.75
    """
    return max(costs[name] / most for name, most in bounds.items())


def last_step(size: Callable[[int], float]) -> int:
    """Returns the last step, from 0, whose size is at most 1; -1 if none is.

    A size takes a network to be built, so few are asked for: the first guesses are where sizes would be 1 if they grew
    with the square of the step, or a little beyond while none is too large.

    Args:
        size: positive, no smaller for a later step.

    >>> asked = []
    >>> last_step(lambda step: asked.append(step) or (step**2 + 5 * step) / 1000)
    29
    >>> asked
    [8, 27, 31, 29, 30]
    """
    low, high, step = -1, None, 8
    roots = {low: 0.0}
    while high is None or high - low > 1:
        roots[step] = math.sqrt(size(step))
        low, high = (step, high) if roots[step] <= 1 else (low, step)
        guessing = len(roots) <= GUESSES
        if high is None:
            step = int(BEYOND * low / roots[low]) + 1 if guessing else 2 * low
        elif guessing:
            between = (1 - roots[low]) / (roots[high] - roots[low])
            step = min(max(low + int(between * (high - low)), low + 1), high - 1)
        else:
            step = (low + high) // 2
    return low
