"""Test error against size, of networks of several sizes and kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from hmnas_tf.drawing.theme import PALETTE, SMALL, WIDTH, themed

SIZES = {  # of each measure its unit in words and in numbers
    "params": ("parameters, thousands", 1e3),
    "flops": ("multiply-adds, millions", 1e6),
    "milliseconds": ("milliseconds", 1.0),
}
MARKERS = "osD^vP"


@themed
def error_by_size(records: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws a panel for each measure of size that every network has, with one axis of errors.

    Args:
        records: `kind` in words, `test_error` in percent, and the keys of `SIZES`, which may be empty.
    """
    measures = [key for key in SIZES if all(record[key] not in ("", None) for record in records)]
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    panels = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
    kinds = list(dict.fromkeys(str(record["kind"]) for record in records))
    for axes, measure in zip(panels, measures, strict=True):
        label, unit = SIZES[measure]
        for number, kind in enumerate(kinds):
            points = sorted(
                (float(record[measure]) / unit, float(record["test_error"]))
                for record in records
                if record["kind"] == kind
            )
            style = {"marker": MARKERS[number % len(MARKERS)], "color": PALETTE[number % len(PALETTE)]}
            axes.plot(*zip(*points, strict=True), linewidth=1.0, label=kind, gid=f"{measure}-{kind}", **style)
        axes.set_xlabel(label, fontsize=SMALL + 1)
        axes.set_xlim(left=0)
    panels[0].set_ylabel("test error, %")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=len(kinds))
    return figure
