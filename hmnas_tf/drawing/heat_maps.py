"""Importances as shades of one colour over the paper, so that they are legible on light and on dark."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from hmnas_tf.drawing.theme import DARKEST, FAINT, INK, SHADE, SMALL, chart, plain, themed
from hmnas_tf.space.topology import Topology

_ROW = 0.24  # height of an edge, inches
_TICKS = 12  # epochs that are named, at most


@themed
def operation_heat_map(values: Any, topology: Topology, *, gates: Any = None, title: str) -> Figure:
    """Draws the importance of every operation on every edge, with its number; what is masked is crossed out.

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
    _shade(axes, values)
    for row, column in np.ndindex(edges, operations):
        number = axes.text(
            column, row, f"{values[row, column]:.2f}", fontsize=SMALL, ha="center", va="center"
        )
        number.set_in_layout(False)  # it lies within the axes; to measure it would take time
    if gates is not None:
        crosses = [
            [(column - 0.45, row - end), (column + 0.45, row + end)]
            for row, column in np.argwhere(np.asarray(gates) == 0)
            for end in (-0.45, 0.45)
        ]
        lines = LineCollection(crosses, colors=INK, alpha=0.45, linewidths=0.7, gid="masked")
        axes.add_collection(lines, autolim=False)
    axes.set_xticks(range(operations), [plain(name) for name in topology.operations])
    axes.set_yticks(range(edges), _names(topology))
    _frame(axes, title)
    return figure


@themed
def edge_heat_map(values_by_epoch: Any, topology: Topology, *, title: str) -> Figure:
    """Draws the importance of every edge by epoch.

    Args:
        values_by_epoch: [epochs, edges], each at least 0, from epoch 1 on.
        topology: of the cell.
        title: above it.
    """
    values = np.asarray(values_by_epoch, np.float64).T
    edges, epochs = values.shape
    figure, (axes,) = chart(1.5 + _ROW * edges)
    axes.grid(False)
    _shade(axes, values)
    step = -(-epochs // _TICKS)
    axes.set_xticks(range(0, epochs, step), range(1, epochs + 1, step))
    axes.set_yticks(range(edges), _names(topology))
    axes.set_xlabel("epoch")
    _frame(axes, title)
    highest = values.max(initial=0.0)
    keys = [
        Patch(facecolor=(SHADE, DARKEST * share), edgecolor=FAINT, label=f"{highest * share:.2f}")
        for share in (0.0, 0.5, 1.0)
    ]
    figure.legend(handles=keys, loc="outside right upper", title="importance", title_fontsize=SMALL)
    return figure


def _names(topology: Topology) -> list[str]:
    return [f"{edge.source}→{edge.target}" for edge in topology.edges]


def _shade(axes: Axes, values: np.ndarray) -> None:
    axes.imshow(shades(values), aspect="auto", interpolation="nearest")


def shades(values: np.ndarray) -> np.ndarray:
    """Returns an image, RGBA, whose opacity grows with the values from 0 to the highest of them."""
    highest = values.max(initial=0.0)
    image = np.empty((*values.shape, 4))
    image[..., :3] = to_rgb(SHADE)
    image[..., 3] = DARKEST * values / (highest if highest > 0 else 1.0)
    return image


def _frame(axes: Axes, title: str) -> None:
    axes.tick_params(length=0)
    axes.set_ylabel("edge")
    axes.set_title(plain(title))
