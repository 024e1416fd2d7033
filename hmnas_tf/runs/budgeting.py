"""What a run does about its budgets: says what is possible before anything is trained, and keeps them exactly."""

from __future__ import annotations

from collections.abc import Sequence

from hmnas_tf.console.progress import counted
from hmnas_tf.networks.cost import MEASURES, Cost, Masks
from hmnas_tf.networks.supernet import Supernet
from hmnas_tf.runs.run import Run
from hmnas_tf.stages.budgets import Budget, Pressure
from hmnas_tf.stages.projection import project, smallest_cost


def budgets_of(run: Run, supernet: Supernet, classes: int) -> list[Budget]:
    """Returns the budgets of a run, and says what networks of its space cost at least and at most.

    One that the whole supernet keeps is told and left out.

    Args:
        run: with its settings.
        supernet: built.
        classes: of the network in the end, which may have more classes than it is searched on.

    Raises:
        ValueError: if a budget, or all of them together, cannot be met; it names the smallest that can.
    """
    budgets, entries = [], {}
    for name, asked in run.config.budgets.items():
        cost = Cost(supernet, name, classes)
        budget = Budget(name, float(asked), cost, float(cost(Masks.of(supernet).exact())))
        (smallest,) = (round(float(least)) for least in smallest_cost(supernet, [budget], [1.0]))
        whole, unit = round(budget.supernet), MEASURES[name].unit
        entries[name] = {"asked": asked, "smallest": smallest, "supernet": whole}
        run.say(
            f"budget: at most {counted(asked, unit)}; the smallest network has {smallest:,}, the whole supernet "
            f"{whole:,}"
        )
        if asked < smallest:
            raise ValueError(
                f"max_{name}={asked} cannot be met: the smallest network of this search has {counted(smallest, unit)}. "
                "Ask for at least as many, or take a smaller --initial_channels or fewer --cells."
            )
        if asked >= whole:
            run.warn(
                [f"max_{name}={asked} is no less than the whole supernet has: there is nothing to do for it."]
            )
        else:
            budgets.append(budget)
    if len(budgets) > 1:
        _require_together(supernet, budgets)
    kept = run.folder.results.get("budgets", {})
    if entries:
        run.folder.update(budgets={name: kept.get(name, {}) | entry for name, entry in entries.items()})
    return budgets


def _require_together(supernet: Supernet, budgets: Sequence[Budget]) -> None:
    weights = [1.0 / budget.asked for budget in budgets]
    least = smallest_cost(supernet, budgets, weights)
    pairs = list(zip(budgets, least, strict=True))
    if any(cost > budget.asked for budget, cost in pairs):
        nearest = (counted(round(float(cost)), MEASURES[budget.name].unit) for budget, cost in pairs)
        both = " and ".join(f"max_{budget.name}={budget.asked:.0f}" for budget in budgets)
        raise ValueError(
            f"{both} cannot be met together: a network that comes nearest has {' and '.join(nearest)}. Ask for more of "
            "one of them."
        )


def pressure_of(run: Run, supernet: Supernet, budgets: Sequence[Budget], steps: int) -> Pressure | None:
    """Returns what budgets do in mask search, None if there are none; call it in the strategy's scope."""
    if not budgets:
        return None
    config = run.config
    return Pressure(
        supernet, budgets, steps=steps, penalty=config.budget_penalty, drop_at=config.mask_drop_at
    )


def keep_budgets(run: Run, supernet: Supernet, budgets: Sequence[Budget], classes: int) -> None:
    """Brings what mask search has left within the budgets, exactly, and records what is reached.

    Args:
        run: with its settings.
        supernet: after mask search.
        budgets: of `budgets_of`.
        classes: as there.
    """
    if budgets:
        moved = project(supernet, budgets)
        run.say(
            f"budget: {counted(moved['gone'], 'mask')} of operations and channels had to go, {moved['back']} came back"
        )
    masks, entries = Masks.of(supernet).exact(), dict(run.folder.results["budgets"])
    for name, entry in entries.items():
        stem, cells, classifier = Cost(supernet, name, classes).parts(masks)
        by_part = {"stem": stem} | {f"cell {i}": c for i, c in enumerate(cells)} | {"classifier": classifier}
        parts = {part: round(float(cost)) for part, cost in by_part.items()}
        reached = sum(parts.values())
        entries[name] = entry | {"reached": reached, "parts": parts}
        run.say(f"budget: {counted(reached, MEASURES[name].unit)} of {entry['asked']:,} asked for")
    run.folder.update(budgets=entries)
