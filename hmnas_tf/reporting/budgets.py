"""What size was asked for, what was reached, and where it went."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hmnas_tf.reporting.elements import Html, element, joined, table
from hmnas_tf.reporting.facts import Facts


def budgets(facts: Facts) -> Html:
    """Returns the budgets of a run with what they led to; nothing of a run without one."""
    entries: Mapping[str, Any] = facts.results.get("budgets", {})
    if not entries:
        return Html()
    rows = [
        (
            _word(name),
            f"{entry['asked']:,}",
            f"{entry['reached']:,}" if "reached" in entry else "",
            f"{100 * entry['reached'] / entry['asked']:.1f} %" if "reached" in entry else "",
            f"{entry['smallest']:,}",
            f"{entry['supernet']:,}" if "supernet" in entry else "",
        )
        for name, entry in entries.items()
    ]
    columns = ("Of", "Asked", "Reached", "Used", "Smallest network", "Whole supernet")
    parts: list[object] = [table("Budgets", columns, rows, words=1)]
    for caption, key, first in (
        ("Where it went, by part", "parts", "Part"),
        ("Where it went, by operation", "operations", "Operation"),
    ):
        there = {name: entry[key] for name, entry in entries.items() if key in entry}
        if there:
            columns = (first, *map(_word, there))
            own = [
                (part, *(f"{costs[part]:,}" for costs in there.values()))
                for part in next(iter(there.values()))
            ]
            parts.append(table(caption, columns, own, words=1))
    if near := _nearest(entries):
        columns = ("Next", "Change", *map(_word, entries))
        parts.append(table("What a change would have cost", columns, near, words=2))
    if facts.genotype is not None and facts.genotype.narrowed:
        needed = facts.genotype.needed_cells()
        plans = [plan for plan in facts.genotype.topology.plans if plan.index in needed]
        most = facts.genotype.topology.stem_channels
        names = ["stem"] if len(most) == 1 else [f"stem {number}" for number in range(len(most))]
        stems = zip(names, facts.genotype.stem_channels, most, strict=True)
        rows = [(name, f"{kept}", f"{whole}") for name, kept, whole in stems]
        rows += [(f"cell {p.index}", f"{facts.genotype.channels(p.index)}", f"{p.channels}") for p in plans]
        parts.append(table("Channels", ("Part", "Kept", "Of"), rows, words=1))
    latency = facts.results.get("latency", {})
    if "measured_ms" in latency:
        predicted = f"; predicted were {latency['predicted_ms']:g} ms" if "predicted_ms" in latency else ""
        measured = f"{latency['measured_ms']:g} ms"
        parts.append(
            element(
                "p", f"In {latency['runtime']} the exported file takes {measured} on one thread{predicted}."
            )
        )
    parts.append(
        element(
            "p",
            "A budget is an upper bound; of the tightest one at least 97 % is used where the search space allows it. "
            "The smallest network is the least that this search could have ended with.",
        )
    )
    return joined(*parts)


def _word(name: str) -> str:
    return name.replace("_", "-")


def _nearest(entries: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Returns a row for the next smaller and the next larger network."""
    first, *_ = entries.values()
    return [
        (
            direction,
            first[direction]["change"],
            *(f"{entry[direction]['cost']:,}" for entry in entries.values()),
        )
        for direction in ("smaller", "larger")
        if direction in first
    ]
