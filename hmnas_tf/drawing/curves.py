"""Curves over the epochs of a run, from the rows of `metrics.csv`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from hmnas_tf.drawing.theme import FAINT, FIRST, SECOND, SMALL, chart, empty, plain, themed, whole_numbers

Rows = Sequence[dict[str, str]]


@themed
def errors(rows: Rows) -> Figure:
    """Draws training and test error over all epochs of all stages on one axis, stages marked (Fig. 3).

    Args:
        rows: of `metrics.csv`, in its order; an empty `test_error` was not measured.
    """
    figure, (axes,) = chart(3.6)
    if not rows:
        empty(axes, "no epoch yet")
        return figure
    stages = list(dict.fromkeys(row["stage"] for row in rows))
    end = 0
    for line, stage in enumerate(stages):
        of_stage = [row for row in rows if row["stage"] == stage]
        for column, colour, marker, label in (
            ("error", FIRST, "", "training error"),
            ("test_error", SECOND, ".", "test error"),
        ):
            points = [(end + int(row["epoch"]), _number(row, column)) for row in of_stage]
            points = [point for point in points if math.isfinite(point[1])]
            if points:
                marker = marker or ("." if len(points) == 1 else "")
                axes.plot(
                    *zip(*points, strict=True),
                    color=colour,
                    marker=marker,
                    markersize=4,
                    linewidth=1.5,
                    label=label,
                    gid=f"{column}-{line}",
                )
        axes.axvline(end + 0.5, color=FAINT, linewidth=1.0, gid=f"stage-{line}")
        height = 1.0 + 0.055 * (len(stages) - 1 - line)
        axes.annotate(
            plain(stage), (end + 0.5, height), xycoords=("data", "axes fraction"), fontsize=SMALL, va="bottom"
        )
        end += max(int(row["epoch"]) for row in of_stage)
    axes.set_xlim(0.5, end + 0.5)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("epoch")
    axes.set_ylabel("error, %")
    whole_numbers(axes.xaxis)
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))  # one entry for all stages
    axes.legend(handles.values(), handles.keys())
    return figure


@themed
def survivors(rows: Rows) -> Figure:
    """Draws how many operations and edges, and which share of the weights, survive each epoch of mask search.

    Args:
        rows: of `metrics.csv`; those of other stages have no such columns and are passed over.
    """
    rows = [row for row in rows if row.get("operations")]
    if not rows:
        figure, (axes,) = chart(1.0)
        empty(axes, "no epoch of mask search yet")
        return figure
    figure, panels = chart(5.0, rows=3)
    epochs = [int(row["epoch"]) for row in rows]
    columns = {"operations": "operations", "edges": "edges", "weight_density": "weights, %"}
    for axes, (column, label) in zip(panels, columns.items(), strict=True):
        factor = 100.0 if column == "weight_density" else 1.0
        values = [factor * _number(row, column) for row in rows]
        axes.plot(epochs, values, color=FIRST, marker=".", gid=column)
        axes.set_ylim(0, 1.1 * max([*values, 1e-9]))
        axes.set_ylabel(label)
        whole_numbers(axes.xaxis)
        if column != "weight_density":
            whole_numbers(axes.yaxis)
    panels[-1].set_xlabel("epoch of mask search")
    return figure


def _number(row: dict[str, str], column: str) -> float:
    """Returns a column's number, NaN where it is empty."""
    return float(row.get(column) or "nan")
