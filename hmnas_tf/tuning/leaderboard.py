"""The trials of a tuning, best first, as a table in Markdown and as CSV (pure Python)."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hmnas_tf.reporting.results_table import markdown_table

SIZES = ("params", "params_nonzero", "flops")


class Record(NamedTuple):
    """A trial.

    Attributes:
        trial: its name, also that of its folder.
        status: `completed`, `failed` or `running`.
        score: what is minimised; NaN unless completed.
        values: of the hyperparameters.
        stage: what `results.json` says of the fine-tuned network; empty unless completed.
        seconds: of training, all stages together.
        budget: share of the epochs that it had.
        reason: why it failed.
    """

    trial: str
    status: str
    score: float
    values: Mapping[str, float]
    stage: Mapping[str, Any]
    seconds: float = 0.0
    budget: float = 1.0
    reason: str = ""

    @property
    def completed(self) -> bool:
        """Whether it has a result."""
        return self.status == "completed"


def ranked(records: Sequence[Record]) -> list[Record]:
    """Returns the completed trials by their score, of ties the earlier first, and then the others."""
    return sorted(records, key=lambda record: (not record.completed, record.score if record.completed else 0))


def front(records: Sequence[Record]) -> set[str]:
    """Returns the trials that no other beats: none has fewer errors and no more parameters, or the reverse."""
    points = {r.trial: (r.stage["test_error"], r.stage["params"]) for r in records if r.completed}
    return {
        trial
        for trial, (error, params) in points.items()
        if not any(e <= error and p <= params and (e, p) != (error, params) for e, p in points.values())
    }


def csv_text(records: Sequence[Record]) -> str:
    """Returns one line a trial, best first."""
    names = _names(records)
    columns = ("rank", "trial", "status", "score", "test_error", *SIZES, "seconds", "budget", *names)
    text, best = io.StringIO(), front(records)
    writer = csv.DictWriter(text, (*columns, "unbeaten", "reason"), lineterminator="\n")
    writer.writeheader()
    for rank, record in enumerate(ranked(records), 1):
        found = {key: record.stage.get(key, "") for key in ("test_error", *SIZES)}
        score = record.score if math.isfinite(record.score) else ""
        row = {"rank": rank if record.completed else "", "trial": record.trial, "status": record.status}
        row |= {"score": score, "seconds": record.seconds, "budget": record.budget, "reason": record.reason}
        writer.writerow(row | found | dict(record.values) | {"unbeaten": int(record.trial in best)})
    return text.getvalue()


def markdown(records: Sequence[Record], *, error: str, score: str) -> str:
    """Returns one row a trial, best first; a star marks those that no other beats.

    Args:
        records: one a trial.
        error: head of the column of errors, which says on which images they were made.
        score: head of the column of scores.
    """
    names, best = _names(records), front(records)
    partial = any(record.budget < 1 for record in records)
    heads = ["rank", "trial", score, error, "parameters", "non-zero", "multiply-adds", "seconds"]
    heads += ["epochs"] * partial + names
    rows: list[list[str]] = []
    for rank, record in enumerate(ranked(records), 1):
        cells = [record.status, record.trial, *[""] * 6]
        if record.completed:
            star = "*" if record.trial in best else ""
            cells = [
                f"{rank}{star}",
                record.trial,
                f"{record.score:.4g}",
                f"{record.stage['test_error']:.2f}",
            ]
            cells += [*(f"{record.stage[key]:,}" for key in SIZES), f"{record.seconds:.0f}"]
        cells += [f"{100 * record.budget:.0f} %"] * partial
        cells += [f"{record.values[name]:.4g}" if name in record.values else "" for name in names]
        rows.append(cells)
    failed = [f"{r.trial} failed: {r.reason}" for r in records if r.status == "failed" and r.reason]
    stars = "\\* no other trial has both fewer errors and no more parameters, or the reverse"
    return markdown_table(heads, rows) + "\n".join(["", stars, *failed]) + "\n"


def _names(records: Sequence[Record]) -> list[str]:
    return sorted({name for record in records for name in record.values})
