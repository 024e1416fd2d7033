"""What can go wrong in a search, in plain words with its numbers and what to do about it; each returns its lines."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
import numpy as np

from hmnas_tf.config import Config
from hmnas_tf.networks.counting import parameterless
from hmnas_tf.networks.supernet import Supernet
from hmnas_tf.settings.paper import MASK_INITIAL
from hmnas_tf.stages.learning_rates import mask_schedules, way

# Share of a group's edges at which a search counts as collapsed. Three of the paper's seven operations have no
# parameters, so alpha as chance made it prefers one on 6 of 14 edges, and on 11 or more, which is this share, in 1 of
# 100 supernets. A healthy search keeps some.
COLLAPSED = 0.75
# Share of the largest entropy of operation importances above which nothing is preferred yet, whatever is strongest by
# a hair (DECISION). On 200 images it was 0.999 when 8 of 9 edges seemed to have collapsed, and the result was good.
UNDECIDED = 0.99
ROUNDING = 1e-6  # relative; rates are float32


def collapse(supernet: Supernet, strongest: Sequence[np.ndarray], epoch: int) -> list[str]:
    """Returns a line if on nearly all edges of a group of cells an operation without parameters is the strongest.

    DARTS-like searches are known for it: such operations carry a signal before the others have learned to, and end in
    a network that hardly can learn. Not judged where no operation has parameters, or all have.

    Args:
        supernet: being trained.
        strongest: for each group of cells the column of each edge's strongest operation, int [edges].
        epoch: that has ended, from 1.
    """
    operations = supernet.topology.operations
    without = np.array(parameterless(operations))
    if without.all():
        return []
    found = [
        f"{without[columns].sum()} of {len(columns)} edges of {_cells(supernet, group)}"
        for group, columns in enumerate(strongest)
        if without[columns].mean() >= COLLAPSED
    ]
    if not found:
        return []
    bare = ", ".join(name for name, is_bare in zip(operations, without, strict=True) if is_bare)
    return [
        f"the search collapses: after epoch {epoch}, {' and '.join(found)} prefer an operation without parameters, and "
        "a network of such operations hardly learns. In a new workdir, raise --warmup_epochs or --weight_decay, lower "
        f"--architecture_learning_rate, or take some of {bare} out of --operations."
    ]


def _cells(supernet: Supernet, group: int) -> str:
    cells = [str(index) for index, own in enumerate(supernet.groups) if own == group]
    return f"cell{'s' * (len(cells) > 1)} {', '.join(cells)}"


def too_short_to_prune(config: Config, steps: int) -> list[str]:
    """Returns a line for each kind of masks that mask search is too short for: operations and edges, weights.

    Adam moves a mask by about its rate a step, whatever the gradient's size, and less where the gradient's sign
    changes. So a mask cannot fall by more than the sum of the rate over all steps.

    Args:
        config: whose mask rates count.
        steps: of mask search.
    """
    distance, lines = MASK_INITIAL - config.threshold, []
    titles = {"architecture": "operation and edge", "weight": "weight"}
    for kind, schedule in mask_schedules(config, steps).items():
        reach = way(schedule, steps)
        if reach < distance * (1 - ROUNDING):
            lines.append(
                f"mask search is too short to prune by {titles[kind]} masks: Adam moves a mask by about its rate a "
                f"step, {reach:.2g} at most in all {steps} steps, and the threshold is {distance:.2g} away. "
                f"{_remedy(config, kind, distance, reach)}"
            )
    return lines


def _remedy(config: Config, kind: str, distance: float, reach: float) -> str:
    if config.mask_rates == "relative":
        return f"Lower --{kind}_mask_crossing, now {getattr(config, f'{kind}_mask_crossing'):g}."
    if not reach:
        return f"Pass --mask_rates=relative, or raise --{kind}_mask_rate, now 0."
    # Rates drop at a fraction of the stage, so that the reach grows as the number of epochs does.
    enough = math.ceil(config.mask_epochs * distance / reach)
    return f"Pass --mask_rates=relative, or --mask_epochs={enough} or more, now {config.mask_epochs}."


def surviving(supernet: Supernet) -> tuple[int, int]:
    """Returns the numbers of operations and edges that take part, once for each group of cells."""
    gates = [keras.ops.convert_to_numpy(encoding.gates()) for encoding in supernet.encodings]
    return int(sum(g.sum() for g in gates)), int(sum(g.any(axis=1).sum() for g in gates))


def nothing_pruned(supernet: Supernet, config: Config) -> list[str]:
    """Returns a line if mask search has removed no operation and no edge; the derived network is then the supernet.

    Args:
        supernet: whose masks were searched.
        config: of the run.
    """
    operations, edges = surviving(supernet)
    if operations < sum(math.prod(encoding.alpha.shape) for encoding in supernet.encodings):
        return []
    farther = {
        "absolute": f"raise --architecture_mask_rate, now {config.architecture_mask_rate:g}",
        "relative": f"lower --architecture_mask_crossing, now {config.architecture_mask_crossing:g}",
    }[config.mask_rates]
    return [
        f"mask search removed none of {operations} operations and none of {edges} edges: the derived network has them "
        f"all. In a new workdir, raise --operation_price, now {config.operation_price:g} nats (the training loss that "
        f"an operation must save to stay), or {farther}."
    ]
