"""What an architecture looks like in numbers, one series for each type of cells (the paper's figures 4 and 6)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from hmnas_tf.drawing.theme import FIRST, INK, SECOND, cell_type, chart, themed, whole_numbers
from hmnas_tf.space.genotype import CellGene, Genotype
from hmnas_tf.space.topology import INPUTS

_COLOURS = {False: FIRST, True: SECOND}


@themed
def inputs_per_node(genotype: Genotype) -> Figure:
    """Draws how many intermediate nodes have 0, 1, 2, ... surviving inputs (Fig. 4 b), in the cells that are built."""
    counts = {
        reduction: Counter(len(edges) for cell in cells for edges in cell.nodes)
        for reduction, cells in _built(genotype).items()
    }
    return _histogram(counts, genotype.topology.nodes + INPUTS - 1, "inputs of a node", "nodes")


@themed
def operations_per_edge(genotype: Genotype) -> Figure:
    """Draws how many edges have 0, 1, 2, ... surviving operations (Fig. 4 c), in the cells that are built."""
    topology = genotype.topology
    counts = {}
    for reduction, cells in _built(genotype).items():
        counts[reduction] = Counter(len(gene.operations) for cell in cells for _, gene in cell.edges())
        counts[reduction][0] = len(cells) * len(topology.edges) - counts[reduction].total()
    return _histogram(counts, len(topology.operations), "operations of an edge", "edges")


@themed
def edge_importance(genotype: Genotype) -> Figure:
    """Draws the mean importance of each node's surviving incoming edges (Fig. 6); a dead node has none."""
    figure, (axes,) = chart(3.0)
    nodes = np.arange(INPUTS, INPUTS + genotype.topology.nodes)
    for reduction, cells in _built(genotype).items():
        betas = [[gene.beta for cell in cells for gene in cell.nodes[n]] for n in range(len(nodes))]
        means = [np.mean(values) if values else np.nan for values in betas]
        marker = "s" if reduction else "o"
        axes.plot(
            nodes, means, color=_COLOURS[reduction], marker=marker, label=f"{cell_type(reduction)} cells"
        )
    axes.set_xticks(nodes)
    axes.set_xlabel("node")
    axes.set_ylabel("mean importance of its inputs")
    axes.set_ylim(bottom=0)
    axes.margins(y=0.1)
    figure.legend(loc="outside upper left", ncols=2)
    return figure


def _built(genotype: Genotype) -> dict[bool, list[CellGene]]:
    """Returns the cells that are built, by whether they reduce; a type without any is left out."""
    cells: dict[bool, list[CellGene]] = {}
    for index in genotype.needed_cells():
        cells.setdefault(genotype.topology.plans[index].reduction, []).append(genotype.cells[index])
    return dict(sorted(cells.items()))


def _histogram(counts: Mapping[bool, Counter], most: int, xlabel: str, ylabel: str) -> Figure:
    figure, (axes,) = chart(3.0)
    width = 0.8 / len(counts)
    for position, (reduction, counter) in enumerate(counts.items()):
        heights = [counter[value] for value in range(most + 1)]
        centres = np.arange(most + 1) + (position - (len(counts) - 1) / 2) * width
        bars = axes.bar(
            centres, heights, width, color=_COLOURS[reduction], label=f"{cell_type(reduction)} cells"
        )
        if reduction:
            for bar in bars:
                bar.set(edgecolor=INK, linewidth=1.0)
        axes.bar_label(bars, [str(height) if height else "" for height in heights], color=INK, padding=1)
    axes.set_xticks(range(most + 1))
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    whole_numbers(axes.yaxis)
    axes.grid(False, axis="x")
    axes.margins(y=0.12)
    figure.legend(loc="outside upper left", ncols=2)
    return figure
