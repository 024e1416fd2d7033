"""A cell as a graph from left to right, over a table of its edges.

Nodes stand on a line and edges are arcs above it. The top of an arc lies over the middle of its two nodes, the higher
the farther they are apart, so no two arcs have the same top: what is written there never meets another's.
"""

from __future__ import annotations

import functools
from collections import defaultdict

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, Polygon, Rectangle

from hmnas_tf.drawing.theme import FAINT, INK, MUTED, PAPER, SMALL, cell_type, operation_colour, plain, themed
from hmnas_tf.space.genotype import CellGene, EdgeGene, OperationGene
from hmnas_tf.space.topology import INPUTS, Edge, Topology

# All lengths in inches: one axes covers the figure, one unit an inch.
_WIDTH = 10.0
_RADIUS = 0.19  # of a node
_LEVEL = 0.62  # how much higher an arc's top is for each node that it spans
_LOWER_LEVEL = 0.45  # the same where the arcs have no room for names
_THICKEST = 9.0  # width of the edge of the highest importance, points
_THINNEST = 1.2
_NAMED = 3  # operations of an edge that are named at its top, at most; the table has all
_NARROWEST = 1.25  # distance of two nodes at which names still have room
_ROW = 0.29  # of the table
_OPERATIONS = 2.5  # where the table's columns of operations begin
_BETA = 0.85, 1.2  # the bar of an edge's importance: where it begins, how long the longest is
_MARGIN, _BOTTOM = 0.3, 0.12
_CURVE = np.linspace(0.0, 1.0, 33)  # where an arc is cut into straight pieces


@themed
def draw_cell(topology: Topology, cell: CellGene, *, index: int) -> Figure:
    """Draws a cell: surviving edges as thick as they are important and coloured by their operations, others dashed.

    Along an edge each of its operations takes the part of the way that is its share of importance. The table says the
    same in numbers: importance of the edge, of each operation, and the share of its weights that is not masked, if any
    is. Dead nodes are grey.

    Args:
        topology: of the network; edges of it that did not survive are drawn dashed.
        cell: what survived.
        index: of the cell, from 0.
    """
    genes = dict(cell.edges())
    places = INPUTS + topology.nodes + 1  # the output is the last
    step = (_WIDTH - 2 * _MARGIN - 2 * _RADIUS) / (places - 1)
    named = step >= _NARROWEST and all(len(gene.operations) <= _NAMED for gene in genes.values())
    level = _LEVEL if named else _LOWER_LEVEL
    table = _BOTTOM + _ROW * (1 + len(genes))
    line = table + 0.85  # height of the nodes
    top = line + level * (places - 2) + 0.3
    figure = Figure(figsize=(_WIDTH, top + 0.35))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, _WIDTH), ylim=(0, top + 0.35))
    axes.set_axis_off()
    plan = topology.plans[index]
    narrowed = 0 < cell.channels < plan.channels
    width = f"{cell.channels} of {plan.channels}" if narrowed else f"{plan.channels}"
    axes.text(
        _MARGIN,
        top + 0.02,
        f"cell {index}: {cell_type(plan.reduction)}, {width} channels",
        fontsize=SMALL + 3,
        weight="bold",
    )
    x = [_MARGIN + _RADIUS + step * place for place in range(places)]
    arcs = {edge: _arc(edge, x, line, level) for edge in topology.edges}
    for edge in topology.edges:
        if edge not in genes:
            axes.plot(
                *arcs[edge].T,
                color=MUTED,
                linewidth=0.7,
                linestyle=(0, (4, 3)),
                zorder=1,
                gid=f"cut-{edge.source}-{edge.target}",
            )
    strongest = max(gene.beta for gene in genes.values())
    # The strongest last, so that it lies above; an importance of 0 throughout is drawn thin.
    for edge, gene in sorted(genes.items(), key=lambda item: item[1].beta):
        _draw_edge(axes, topology, edge, gene, arcs[edge], gene.beta / (strongest or 1.0))
    for edge, gene in genes.items():
        middle = (x[edge.source] + x[edge.target]) / 2
        _write_top(axes, topology, edge, gene, middle, line + level * (edge.target - edge.source), named)
    _draw_nodes(axes, topology, cell, x, line)
    _draw_table(axes, topology, genes, table)
    return figure


def _arc(edge: Edge, x: list[float], line: float, level: float) -> np.ndarray:
    """Returns points of an edge's arc, [points, 2], from the rim of one node to that of the other.

    Long arcs leave and reach a node steeper than short ones, so that they part soon.
    """
    longest = len(x) - 2
    angle = np.pi * (0.15 + 0.32 * (edge.target - edge.source - 1) / max(1, longest - 1))
    out = _RADIUS * np.array([np.cos(angle), np.sin(angle)])
    start = np.array([x[edge.source], line]) + out
    end = np.array([x[edge.target], line]) + out * [-1, 1]
    # A cubic curve reaches 3/4 of the way to its two inner points.
    height = start[1] + (line + level * (edge.target - edge.source) - start[1]) / 0.75
    inset = 0.12 * (end[0] - start[0])
    points = np.array([start, [start[0] + inset, height], [end[0] - inset, height], end])
    t = _CURVE[:, None]
    weights = np.hstack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3])
    return weights @ points


def _draw_edge(
    axes: Axes, topology: Topology, edge: Edge, gene: EdgeGene, arc: np.ndarray, share: float
) -> None:
    width = max(_THINNEST, _THICKEST * share)
    name = f"{edge.source}-{edge.target}"
    axes.plot(
        *arc.T, color=INK, linewidth=width + 1.2, solid_capstyle="butt", zorder=2 + share, gid=f"edge-{name}"
    )
    total = sum(operation.alpha for operation in gene.operations)
    parts = [operation.alpha if total else 1.0 for operation in gene.operations]
    borders = np.concatenate([[0.0], np.cumsum(parts) / sum(parts)])
    pieces, colours = [], []
    for operation, begin, end in zip(gene.operations, borders[:-1], borders[1:], strict=True):
        t = np.unique(np.clip(_CURVE, begin, end))
        pieces.append(np.column_stack([np.interp(t, _CURVE, arc[:, axis]) for axis in (0, 1)]))
        colours.append(operation_colour(topology.operations.index(operation.name)))
    lines = LineCollection(
        pieces,
        colors=colours,
        linewidths=width,
        capstyle="butt",
        zorder=2.001 + share,
        gid=f"operations-{name}",
    )
    axes.add_collection(lines, autolim=False)
    tip, back = arc[-1], arc[-1] - arc[-3]
    along = back / np.hypot(*back)
    across = np.array([-along[1], along[0]]) * (0.05 + width / 144)
    head = [tip + 0.02 * along, tip - 0.13 * along + across, tip - 0.13 * along - across]
    axes.add_artist(Polygon(head, facecolor=INK, edgecolor="none", zorder=4))


def _write_top(
    axes: Axes, topology: Topology, edge: Edge, gene: EdgeGene, x: float, y: float, named: bool
) -> None:
    """Writes an edge's name, and if there is room its operations, on the top of its arc."""
    lines = [f"{edge.source}→{edge.target}"]
    if named:
        lines += [f"{operation.name} {_numbers(operation)}" for operation in gene.operations]
    axes.text(
        x,
        y,
        "\n".join(map(plain, lines)),
        fontsize=SMALL - 1,
        ha="center",
        va="center",
        linespacing=1.15,
        zorder=6,
        bbox={"boxstyle": "round,pad=0.15", "facecolor": PAPER, "edgecolor": FAINT, "linewidth": 0.6},
    )


def _numbers(operation: OperationGene) -> str:
    """Returns an operation's importance and, if weights are masked, the share of those that are not."""
    return f"{operation.alpha:.2f}" + (f" · {100 * operation.density:.0f} %" if operation.density < 1 else "")


def _draw_nodes(axes: Axes, topology: Topology, cell: CellGene, x: list[float], line: float) -> None:
    """Draws nodes and, below them, the line that puts all living ones together into the output."""
    alive = [True] * INPUTS + [bool(edges) for edges in cell.nodes]
    names = ["cₖ₋₂", "cₖ₋₁", *("" if edges else "dead" for edges in cell.nodes)]
    rail = line - 0.55
    first = INPUTS + min(cell.living_nodes())
    axes.plot([x[first], x[-1], x[-1]], [rail, rail, line - _RADIUS], color=INK, linewidth=1.0, zorder=1)
    for node, (living, name) in enumerate(zip(alive, names, strict=True)):
        colour = INK if living else MUTED
        axes.add_artist(
            Circle((x[node], line), _RADIUS, facecolor=PAPER, edgecolor=colour, linewidth=1.4, zorder=5)
        )
        axes.text(
            x[node], line, str(node), color=colour, ha="center", va="center", zorder=6, gid=f"node-{node}"
        )
        axes.text(
            x[node], line - 0.32, name, color=colour, fontsize=SMALL, ha="center", va="center", zorder=6
        )
        if node >= INPUTS and living:
            axes.plot([x[node]] * 2, [line - _RADIUS, rail], color=INK, linewidth=1.0, zorder=1)
    box = FancyBboxPatch(
        (x[-1] - 0.24, line - 0.13),
        0.48,
        0.26,
        boxstyle="round,pad=0.04",
        facecolor=PAPER,
        edgecolor=INK,
        zorder=5,
    )
    axes.add_artist(box)
    axes.text(x[-1], line, "output", fontsize=SMALL, ha="center", va="center", zorder=6)


def _draw_table(axes: Axes, topology: Topology, genes: dict[Edge, EdgeGene], top: float) -> None:
    """Draws a row for each surviving edge: its importance, then its operations in the order of alpha's columns."""
    columns = len(topology.operations)
    width = min(1.5, (_WIDTH - _MARGIN - _OPERATIONS) / columns)
    lefts = [_OPERATIONS + width * column for column in range(columns)]
    head = top - _ROW / 2
    write = functools.partial(axes.text, fontsize=SMALL, va="center")
    write(_MARGIN, head, "edge")
    write(_BETA[0], head, "importance")
    for column, (left, name) in enumerate(zip(lefts, topology.operations, strict=True)):
        square = Rectangle((left, head - 0.05), 0.1, 0.1, facecolor=operation_colour(column), edgecolor=INK)
        axes.add_artist(square)
        write(left + 0.14, head, plain(name), fontsize=SMALL - 0.5)
    strongest = max(gene.beta for gene in genes.values()) or 1.0
    most = max(operation.alpha for gene in genes.values() for operation in gene.operations) or 1.0
    bars: dict[str, list[tuple[float, float, float]]] = defaultdict(list)  # left, middle and length by colour
    rules = []
    for row, (edge, gene) in enumerate(genes.items(), 1):
        y = head - _ROW * row
        rules.append([(_MARGIN, y + _ROW / 2), (lefts[-1] + width, y + _ROW / 2)])
        write(_MARGIN, y, f"{edge.source}→{edge.target}")
        bars[INK].append((_BETA[0], y, _BETA[1] * gene.beta / strongest))
        write(_BETA[0], y + 0.03, f"{gene.beta:.3f}")
        present = {operation.name: operation for operation in gene.operations}
        for column, (left, name) in enumerate(zip(lefts, topology.operations, strict=True)):
            if name in present:
                bars[operation_colour(column)].append((left, y, 0.9 * width * present[name].alpha / most))
                write(left, y + 0.03, _numbers(present[name]))
            else:
                write(left, y, "-", color=MUTED)
    axes.add_collection(LineCollection(rules, colors=FAINT, linewidths=0.5), autolim=False)
    for colour, of_colour in bars.items():  # one artist for all bars of a colour: a hundred would be slow
        corners = [
            [(x, y - 0.11), (x + length, y - 0.11), (x + length, y - 0.06), (x, y - 0.06)]
            for x, y, length in of_colour
        ]
        filled = PolyCollection(corners, facecolors=colour, edgecolors=INK, linewidths=0.4)
        axes.add_collection(filled, autolim=False)
