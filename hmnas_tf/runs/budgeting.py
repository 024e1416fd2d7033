"""What a run does about its budgets: says what is possible before anything is trained, and keeps them exactly."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from keras import ops

from hmnas_tf.console.progress import counted
from hmnas_tf.derivation.rules import kept_by_masks
from hmnas_tf.networks.cost import Cost, Masks
from hmnas_tf.networks.count import MEASURES, Count
from hmnas_tf.networks.latency import Latency
from hmnas_tf.networks.supernet import Supernet
from hmnas_tf.runs.latency import multiple_of, table_of, time_searched
from hmnas_tf.runs.run import Run
from hmnas_tf.stages.budgets import Budget, Pressure
from hmnas_tf.stages.neighbours import neighbours
from hmnas_tf.stages.projection import USED, project, smallest_cost

UNITS = {"multiply_adds": "multiply-add", "parameters": "parameter"}  # one of it, in words
MILLISECONDS = "latency_ms"
TRIES = 8  # projections, each with a measurement, until a budget of milliseconds holds


class InfeasibleError(ValueError):
    """No network of the search space is within the budgets."""


class TooSlowError(InfeasibleError):
    """No network that a search has led to is measured to take so few milliseconds; another search may do better."""


@contextlib.contextmanager
def withdrawn(run: Run) -> Iterator[None]:
    """Inside, a budget that cannot be met leaves no run: its folder is asked for again, with another budget."""
    try:
        yield
    except InfeasibleError:
        run.folder.withdraw()
        raise


def amount(name: str, cost: float) -> str:
    """Returns a cost in words.

    >>> amount("parameters", 1200), amount("latency_ms", 0.25)
    ('1,200 parameters', '0.25 ms')
    """
    return f"{cost:.4g} ms" if name == MILLISECONDS else counted(round(cost), UNITS[name])


def rounded(name: str, cost: float) -> float:
    """Returns a cost as `results.json` has it: an integer, or milliseconds to a tenth of a microsecond."""
    return round(float(cost), 4) if name == MILLISECONDS else round(float(cost))


def cost_of(run: Run, supernet: Supernet, name: str, classes: int) -> Cost:
    """Returns the cost that a budget is of."""
    if name in MEASURES:
        return Count(supernet, name, classes)
    multiple = multiple_of(run.config.latency_runtime)
    return Latency(supernet, table_of(run, supernet), classes, multiple)


def budgets_of(run: Run, supernet: Supernet, classes: int) -> list[Budget]:
    """Returns the budgets that masks have to keep, and says what networks of its space cost at least and at most.

    One that the whole supernet keeps is told: it is not binding.

    Args:
        run: with its settings.
        supernet: built, untrained.
        classes: of the network in the end, which may have more classes than it is searched on.

    Raises:
        InfeasibleError: if a budget, or all of them together, cannot be met; it names the smallest that can.
    """
    budgets, entries = [], {}
    by_masks = kept_by_masks(run.config.budgets, run.config.derivation)  # for others see `widths`
    for name, asked in by_masks.items():
        cost = cost_of(run, supernet, name, classes)
        whole = rounded(name, cost(Masks.of(supernet).exact()))
        budget = Budget(name, float(asked), cost, whole)
        (smallest,) = smallest_cost(supernet, [budget], [1.0])
        budgets.append(budget)
        entries[name] = {"asked": asked, "smallest": rounded(name, smallest), "supernet": whole}
        run.say(
            f"budget: at most {amount(name, asked)}; the smallest network has {amount(name, smallest)}, the whole "
            f"supernet {amount(name, whole)}"
        )
        if asked < smallest:
            raise InfeasibleError(
                f"max_{name}={asked} cannot be met: the smallest network of this search has {amount(name, smallest)}. "
                "Ask for at least as many, or take a smaller --initial_channels or fewer --cells."
            )
        if not budget.binding:
            run.warn(
                [f"max_{name}={asked} is no less than the whole supernet has: there is nothing to do for it."]
            )
    if len(binding := _binding(budgets)) > 1:
        _require_together(supernet, binding)
    kept = run.folder.results.get("budgets", {})
    if entries:
        run.folder.update(budgets={name: kept.get(name, {}) | entry for name, entry in entries.items()})
    return budgets


def _binding(budgets: Sequence[Budget]) -> list[Budget]:
    return [budget for budget in budgets if budget.binding]


def _require_together(supernet: Supernet, budgets: Sequence[Budget]) -> None:
    weights = [1.0 / budget.asked for budget in budgets]
    least = smallest_cost(supernet, budgets, weights)
    pairs = list(zip(budgets, least, strict=True))
    if any(cost > budget.asked for budget, cost in pairs):
        nearest = (amount(budget.name, cost) for budget, cost in pairs)
        both = " and ".join(f"max_{budget.name}={budget.asked:g}" for budget in budgets)
        raise InfeasibleError(
            f"{both} cannot be met together: a network that comes nearest has {' and '.join(nearest)}. Ask for more of "
            "one of them."
        )


def pressure_of(run: Run, supernet: Supernet, budgets: Sequence[Budget], steps: int) -> Pressure | None:
    """Returns what budgets do in mask search, None if none is binding; call it in the strategy's scope."""
    binding, config = _binding(budgets), run.config
    if not binding:
        return None
    return Pressure(
        supernet, binding, steps=steps, penalty=config.budget_penalty, drop_at=config.mask_drop_at
    )


def keep_budgets(run: Run, supernet: Supernet, budgets: Sequence[Budget]) -> None:
    """Brings what mask search has left within the budgets, exactly, and records what is reached.

    Args:
        run: with its settings.
        supernet: after mask search.
        budgets: of `budgets_of`.

    Raises:
        TooSlowError: if no network is measured to take so few milliseconds.
    """
    if binding := _binding(budgets):
        timed = any(budget.name == MILLISECONDS for budget in binding)
        moved = within_milliseconds(run, supernet, binding) if timed else project(supernet, binding)
        run.say(
            f"budget: {counted(moved['gone'], 'mask')} of operations and channels had to go, {moved['back']} came back"
        )
    entries = dict(run.folder.results["budgets"])
    nearest = neighbours(supernet, budgets)
    for number, budget in enumerate(budgets):
        found = reached(budget, supernet)
        for direction, (change, costs) in nearest.items():
            found[direction] = {"change": change, "cost": rounded(budget.name, costs[number])}
        entry = entries[budget.name] | found
        entries[budget.name] = entry
        predicted = " predicted" if budget.name == MILLISECONDS else ""
        run.say(f"budget: {amount(budget.name, entry['reached'])}{predicted} of {entry['asked']:,} asked for")
    run.folder.update(budgets=entries)


def reached(budget: Budget, supernet: Supernet) -> dict[str, Any]:
    """Returns for `results.json` what is reached of a budget, by part of the network and by operation."""
    parts = budget.cost.parts(Masks.of(supernet).exact())
    by_cell = {f"cell {i}": cost for i, cost in enumerate(parts.cells())}
    names = supernet.topology.operations
    by_operation = dict(zip(names, sum(ops.convert_to_numpy(own) for own in parts.operations), strict=True))
    tables = {
        "parts": {"stem": parts.stem} | by_cell | {"classifier": parts.classifier},
        "operations": by_operation | {"preprocessing": sum(parts.preprocessings)},
    }
    found = {
        table: {part: rounded(budget.name, cost) for part, cost in costs.items()}
        for table, costs in tables.items()
    }
    return {"reached": rounded(budget.name, sum(found["parts"].values()))} | found


def within_milliseconds(run: Run, supernet: Supernet, budgets: Sequence[Budget]) -> dict[str, int]:
    """Projects, measures the network, and projects again with another bound of milliseconds, until it holds.

    A table of parts does not tell a network's milliseconds exactly, so the bound on what it predicts is set by the
    ratio of what was measured and predicted. What was measured is recorded at once: a run that goes on takes it.

    Returns:
        As `project`.

    Raises:
        TooSlowError: if no network holds.
    """
    (own,) = (budget for budget in budgets if budget.name == MILLISECONDS)
    masks = [*supernet.architecture_masks, *supernet.width_masks]
    found = [mask.numpy() for mask in masks]
    known = run.folder.results.get("latency", {}).get("tries", [])
    tries: list[dict[str, float]] = []
    bound = own.asked

    def projected(bound: float) -> dict[str, int]:
        for mask, value in zip(masks, found, strict=True):
            mask.assign(value)
        return project(supernet, budgets, [bound if b is own else b.asked for b in budgets])

    for number in range(TRIES):
        try:
            projected(bound)
        except ValueError:  # the table knows of no network that is so fast
            break
        predicted = float(own.cost(Masks.of(supernet).exact()))
        if predicted in [each["predicted_ms"] for each in tries]:  # the same network again
            break
        if number < len(known):
            tries.append(known[number])
        else:
            # Three of four measurements are to hold, not just half of them: the file is measured once more.
            upper = float(np.percentile(time_searched(run, supernet), 75))
            tries.append({"bound": bound, "predicted_ms": predicted, "upper_ms": upper})
            run.folder.update(latency={"runtime": run.config.latency_runtime, "tries": tries})
            run.say(f"latency: {upper:.4g} ms measured, {predicted:.4g} ms predicted by the table")
        measured = tries[-1]["upper_ms"]
        if USED * own.asked <= measured <= own.asked:
            break
        bound = predicted * own.asked / measured * (1.0 + USED) / 2.0
    holding = [each for each in tries if each["upper_ms"] <= own.asked]
    if not holding:
        least = min(each["upper_ms"] for each in tries)
        raise TooSlowError(
            f"max_latency_ms={own.asked:g} cannot be met: the fastest network that was found takes {least:.4g} ms. "
            "Ask for as many in another --workdir, or take a smaller --initial_channels or fewer --cells."
        )
    best = max(holding, key=lambda each: each["upper_ms"])
    run.folder.update(
        latency=run.folder.results["latency"]
        | {"predicted_ms": round(best["predicted_ms"], 4), "tries": tries}
    )
    return projected(best["bound"])
