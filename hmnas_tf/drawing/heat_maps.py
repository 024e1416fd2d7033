"""Importances as shades of one colour over the paper, so that they are legible on light and on dark."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from hmnas_tf.drawing.theme import DARKEST, INK, MUTED, PAPER, SHADE, SHADED, SMALL, chart, plain, themed
from hmnas_tf.space.topology import Topology

_ROW = 0.24  # height of an edge, inches
_TICKS = 12  # epochs that are named, at most
_PARTED = 60  # rows or columns that lines part, at most; of more, the lines would hide the shades


@themed
def operation_heat_map(values: Any, topology: Topology, *, gates: Any = None, title: str) -> Figure:
    """Draws the importance of every operation on every edge, with its number; what is masked has no shade, a dashed
    frame and a grey number.

    Args:
        values: [edges, operations], each at least 0.
        topology: of the cell.
        gates: 1 for what takes part, 0 for what is masked, [edges, operations]; None is all.
        title: above it.
    """
    values = np.asarray(values, np.float64)
    edges, operations = values.shape
    figure, (axes,) = chart(1.2 + _ROW * edges)
    axes.grid(False)
    open_ = np.ones(values.shape, bool) if gates is None else np.asarray(gates) != 0
    _shade(axes, np.where(open_, values, 0.0), DARKEST)
    for row, column in np.ndindex(edges, operations):
        colour = INK if open_[row, column] else MUTED
        number = axes.text(
            column,
            row,
            f"{values[row, column]:.2f}",
            color=colour,
            fontsize=SMALL,
            ha="center",
            va="center",
        )
        number.set_in_layout(False)  # it lies within the axes; to measure it would take time
    corners = np.array([(-0.46, -0.4), (0.46, -0.4), (0.46, 0.4), (-0.46, 0.4)])
    frames = [corners + (column, row) for row, column in np.argwhere(~open_)]
    if frames:
        style = {"edgecolors": MUTED, "linewidths": 0.5, "linestyles": [(0, (2, 3))]}
        axes.add_collection(PolyCollection(frames, facecolors="none", gid="masked", **style), autolim=False)
    axes.set_xticks(range(operations), [plain(name) for name in topology.operations])
    axes.set_yticks(range(edges), _names(topology))
    _frame(axes, title)
    return figure


@themed
def edge_heat_map(values_by_epoch: Any, topology: Topology, *, title: str) -> Figure:
    """Draws the importance of every edge by epoch, and in numbers that after the last.

    Args:
        values_by_epoch: [epochs, edges], each at least 0, from epoch 1 on.
        topology: of the cell.
        title: above it.
    """
    values = np.asarray(values_by_epoch, np.float64).T
    edges, epochs = values.shape
    figure, (axes,) = chart(1.5 + _ROW * edges)
    axes.grid(False)
    _shade(axes, values, 1.0)
    step = -(-epochs // _TICKS)
    axes.set_xticks(range(0, epochs, step), range(1, epochs + 1, step))
    axes.set_yticks(range(edges), _names(topology))
    axes.set_xlabel("epoch")
    _frame(axes, title)
    last = axes.secondary_yaxis("right")
    last.set_yticks(range(edges), [f"{value:.2f}" for value in values[:, -1]])
    last.tick_params(length=0)
    last.spines["right"].set_visible(False)
    last.set_ylabel(f"importance after epoch {epochs}")
    highest = values.max(initial=0.0)
    keys = [
        Patch(facecolor=(SHADE, share), edgecolor=MUTED, label=f"{highest * share:.2f}")
        for share in (0.0, 0.5, 1.0)
    ]
    legend = figure.legend(
        handles=keys, loc="outside upper left", ncols=3, title="importance", title_fontsize=SMALL
    )
    for number, patch in enumerate(legend.get_patches()):
        patch.set_gid(f"{SHADED}-{number}")
    return figure


def _names(topology: Topology) -> list[str]:
    return [f"{edge.source}→{edge.target}" for edge in topology.edges]


def _shade(axes: Axes, values: np.ndarray, darkest: float) -> None:
    """Shades the cells and parts them by lines of paper, so that similar shades are seen to differ."""
    axes.imshow(shades(values, darkest), aspect="auto", interpolation="nearest")
    for places, line in zip(values.shape, (axes.axhline, axes.axvline), strict=True):
        for place in range(1, places if places <= _PARTED else 0):
            line(place - 0.5, color=PAPER, linewidth=0.6)


def shades(values: np.ndarray, darkest: float = DARKEST) -> np.ndarray:
    """Returns an image, RGBA, whose opacity grows with the values from 0 to `darkest` at the highest of them."""
    highest = values.max(initial=0.0)
    image = np.empty((*values.shape, 4))
    image[..., :3] = to_rgb(SHADE)
    image[..., 3] = darkest * values / (highest if highest > 0 else 1.0)
    return image


def _frame(axes: Axes, title: str) -> None:
    axes.tick_params(length=0)
    axes.set_ylabel("edge")
    axes.set_title(plain(title))
