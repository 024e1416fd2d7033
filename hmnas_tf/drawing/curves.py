"""Curves over the epochs of a run, from the rows of `metrics.csv`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hmnas_tf.drawing.theme import (
    FIRST,
    INK,
    SECOND,
    SMALL,
    WIDTH,
    chart,
    empty,
    plain,
    themed,
    whole_numbers,
)

Rows = Sequence[dict[str, str]]


_LEAST = 0.2  # share of the width that a stage has at least, so that its name has room


@themed
def errors(rows: Rows, ends: Mapping[str, float] | None = None) -> Figure:
    """Draws training and test error over all epochs, a panel for each stage and one axis of errors (Fig. 3).

    Args:
        rows: of `metrics.csv`, in its order; an empty `test_error` was not measured.
        ends: test error of what each finished stage left, percent, by its title: a diamond at its last epoch.
    """
    if not rows:
        figure, (axes,) = chart(1.0)
        empty(axes, "no epoch yet")
        return figure
    stages: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        stages.setdefault(row["stage"], []).append(row)
    epochs = [max(int(row["epoch"]) for row in of_stage) for of_stage in stages.values()]
    widths = [max(count, _LEAST * sum(epochs)) for count in epochs]
    figure = Figure(figsize=(WIDTH, 3.8), layout="constrained")
    panels = figure.subplots(1, len(stages), sharey=True, squeeze=False, width_ratios=widths)[0]
    start = 0
    for number, (axes, stage, count) in enumerate(zip(panels, stages, epochs, strict=True)):
        _draw_stage(axes, stages[stage], start, number, (ends or {}).get(stage))
        axes.set_title(plain(stage), fontsize=SMALL)
        axes.set_xlim(start + 0.5, start + count + 0.5)
        whole_numbers(axes.xaxis)
        start += count
    panels[0].set_ylim(bottom=0)
    panels[0].set_ylabel("error, %")
    figure.supxlabel("epoch", fontsize=SMALL + 1)
    handles = {}  # one entry for all stages
    for axes in panels:
        handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=len(handles))
    return figure


def _draw_stage(axes: Axes, rows: Rows, start: int, number: int, end: float | None) -> None:
    """Draws the curves of a stage that begins after epoch `start`; that of test errors goes on to its end."""
    last = start + int(rows[-1]["epoch"])
    for column, colour, label in (("error", FIRST, "training error"), ("test_error", SECOND, "test error")):
        points = [(start + int(row["epoch"]), _number(row, column)) for row in rows]
        points = [point for point in points if math.isfinite(point[1])]
        line = [*points, (last, end)] if points and column == "test_error" and end is not None else points
        if line:
            style = {"color": colour, "linewidth": 1.5, "label": label, "gid": f"{column}-{number}"}
            if column == "test_error" or len(line) == 1:
                style |= {"marker": "o", "markersize": 3, "markevery": range(len(points))}
            axes.plot(*zip(*line, strict=True), **style)
    if end is not None:
        style = {"color": SECOND, "markeredgecolor": INK, "linestyle": "", "gid": f"end-{number}"}
        axes.plot([last], [end], marker="D", label="test error of the stage's result", clip_on=False, **style)


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
