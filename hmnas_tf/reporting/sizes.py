"""Networks of other sizes from the same supernet, and whether they were worth a search."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hmnas_tf.drawing.error_by_size import error_by_size
from hmnas_tf.reporting.architecture import picture
from hmnas_tf.reporting.elements import Html, element, joined, table
from hmnas_tf.reporting.facts import Facts

FOLDER, TABLE = "pareto", "pareto.csv"  # in a run folder
MASKS = "masks"  # the kind of network that is searched for; any other is a rival
CHART = "Test error against size, one point a network"
COLUMNS = ("network", "kind", "test error %", "parameters", "multiply-adds", "ms", "epochs", "seconds")

Records = Sequence[Mapping[str, Any]]  # as in the table; numbers may be text


def sizes(facts: Facts) -> Html:
    """Returns table and chart of the networks that `hmnas_tf.pareto` has made; nothing without one."""
    if not facts.sizes:
        return Html()
    test_examples = facts.results["dataset"]["test_examples"]
    heads = [name.capitalize() for name in COLUMNS]
    parts: list[object] = [
        table("Networks from this run's supernet, by what was asked for", heads, rows(facts.sizes), words=2),
        picture(
            error_by_size(facts.sizes),
            title=CHART,
            description="The table has the numbers.",
            key="error-by-size",
        ),
    ]
    if lines := worth(facts.sizes, test_examples):
        parts += [element("h3", "Was it worth it?"), *(element("p", line) for line in lines)]
    return joined(*parts)


def rows(records: Records) -> list[tuple[str, ...]]:
    """Returns a row of text for each network, in `COLUMNS`."""
    return [
        (
            str(record["network"]),
            str(record["kind"]),
            f"{float(record['test_error']):.2f}",
            f"{int(record['params']):,}",
            f"{int(record['flops']):,}",
            f"{float(record['milliseconds']):.3g}" if record["milliseconds"] not in ("", None) else "",
            str(record["epochs"]),
            f"{float(record['seconds']):.0f}",
        )
        for record in records
    ]


def worth(records: Records, test_examples: int) -> list[str]:
    """Says of each network with rivals whether the search was worth it.

    One run of each tells no more than its test images do: error rates p and q of N images differ by more than chance
    where they are two standard errors apart, each sqrt((p (1 - p) + q (1 - q)) / N).

    Args:
        records: of networks and rivals.
        test_examples: how many test images each error is of.
    """
    lines = []
    for own in records:
        rivals = [r for r in records if r["network"] == own["network"] and r["kind"] != MASKS]
        if own["kind"] == MASKS and rivals:
            lines.append(
                _judged(own, min(rivals, key=lambda rival: float(rival["test_error"])), test_examples)
            )
    return lines


def _judged(own: Mapping[str, Any], best: Mapping[str, Any], test_examples: int) -> str:
    ours, theirs = (float(record["test_error"]) for record in (own, best))
    shares = (ours / 100, theirs / 100)
    chance = 2 * 100 * math.sqrt(sum(share * (1 - share) for share in shares) / test_examples)
    if ours == theirs:
        verdict = "equal"
    else:
        distance = abs(ours - theirs)
        sure = "more" if distance > chance else "not more"
        verdict = (
            f"{'better' if ours < theirs else 'worse'} by {distance:.2f} points, {sure} than the {chance:.2f} points "
            "that chance may make between one run each"
        )
    own_seconds, best_seconds = (
        float(own["seconds"]),
        float(best["seconds"]) + float(best["supernet_seconds"]),
    )
    return (
        f"{own['network']}: {ours:.2f} % test error, the best rival ({best['kind']}) {theirs:.2f} %: {verdict}. It "
        f"took {own_seconds:.0f} s after the supernet's {float(own['supernet_seconds']):.0f} s, which all sizes share; "
        f"the rival {best_seconds:.0f} s."
    )
