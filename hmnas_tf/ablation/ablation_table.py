"""The ablation's records as a table in Markdown, as CSV and as a plot."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from hmnas_tf.reporting.results_table import markdown_table
from hmnas_tf.storage import atomic

WHOLE_METHOD = "multi_level_masks"
STAGE_ROWS = {
    "supernet": "stage_supernet",
    "searched": "stage_searched",
}  # rows of Table 3 by their key in results
STAGE_TITLES = {
    "stage_supernet": "stage: supernet",
    "stage_searched": "stage: searched network, before fine-tuning",
}
PAPER = {  # CIFAR-10, from Tables 3, 5 and 6: test error in percent, millions of parameters
    "multi_level_masks": "2.41 ± 0.05, 1.8 M",
    "multi_level_top2": "2.7, 2.1 M",
    "single_level_top2": "3.1, 2.5 M",
    "random": "3.41 ± 0.15",
    "masks_random_weights": "2.95 ± 0.08, 1.8 M",
    "resnet8": "",
    "mobilenet": "",
    "stage_supernet": "4.2, 3 M",
    "stage_searched": "5.14, 1.8 M",
}
COLUMNS = ("variant", "seed", "test_error", "params", "params_nonzero", "flops", "epochs", "seconds")


def csv_text(records: Sequence[Mapping[str, Any]], columns: Sequence[str] = COLUMNS) -> str:
    """Returns one line a record, the columns as the header; what a record lacks is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def markdown(records: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> str:
    """Returns one row a variant: mean and standard deviation over its seeds, and how its error differs from HM-NAS'.

    The difference is the mean over the seeds that both have, with the standard error of that mean.

    Args:
        records: as in the CSV file.
        titles: of the variants, in the order of the table.
    """
    heads = (
        "variant",
        "seeds",
        "test error %",
        "points more than HM-NAS, paired, ± s.e.",
        "parameters",
        "non-zero",
        "multiply-adds",
        "epochs",
        "seconds",
    )
    heads += ("paper, CIFAR-10",)
    table: list[list[str]] = []
    of_masks = [record for record in records if record["variant"] == WHOLE_METHOD]
    for name, title in (dict(titles) | STAGE_TITLES).items():
        rows = [record for record in records if record["variant"] == name]
        if rows:
            table.append(
                [
                    title,
                    str(len(rows)),
                    _mean(rows, "test_error", ".2f"),
                    "" if name in STAGE_TITLES else _paired(rows, of_masks),
                    *(_mean(rows, key, ",.0f") for key in ("params", "params_nonzero", "flops")),
                    *(_mean(rows, key, ",.0f", deviation=False) for key in ("epochs", "seconds")),
                    PAPER[name],
                ]
            )
    return markdown_table(heads, table)


def _paired(rows: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> str:
    """Returns by how many points the errors of `rows` are above those of other records with the same seeds."""
    errors = {other["seed"]: other["test_error"] for other in others}
    differences = [row["test_error"] - errors[row["seed"]] for row in rows if row["seed"] in errors]
    if len(differences) < 2 or not any(differences):
        return ""
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    return f"{statistics.mean(differences):+.2f} ± {error:.2f}"


def _mean(rows: Sequence[Mapping[str, Any]], key: str, form: str, *, deviation: bool = True) -> str:
    values = [row[key] for row in rows]
    mean = f"{statistics.mean(values):{form}}"
    if deviation and len(values) > 1:
        return f"{mean} ± {statistics.stdev(values):{form}}"
    return mean


def draw(path: Path, records: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> str:
    """Draws test error against parameters, one point a run; returns the name of the file.

    Args:
        path: of the SVG file.
        records: as in the CSV file.
        titles: of the variants.
    """
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for marker, (name, title) in zip("osD^vPX*d", (dict(titles) | STAGE_TITLES).items(), strict=True):
        rows = [record for record in records if record["variant"] == name]
        if rows:
            points = [(row["params"] / 1e3, row["test_error"]) for row in rows]
            axes.scatter(*zip(*points, strict=True), marker=marker, label=title, alpha=0.8)
    axes.set_xlabel("parameters of the final network, thousands")
    axes.set_ylabel("test error, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    with rc_context({"svg.hashsalt": "ablation"}), atomic.replacing(path) as temporary:  # the same file again
        figure.savefig(temporary, format="svg", metadata={"Date": None})
    return path.name
