"""What was found: cells as graphs, and the paper's figures 4 and 6."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.figure import Figure

from hmnas_tf.console.progress import counted
from hmnas_tf.drawing.architecture_charts import edge_importance, inputs_per_node, operations_per_edge
from hmnas_tf.drawing.cell_graph import draw_cell
from hmnas_tf.drawing.picture import as_svg
from hmnas_tf.drawing.theme import WIDTH, cell_type
from hmnas_tf.reporting.elements import Html, element, joined, scrolling
from hmnas_tf.reporting.facts import Facts
from hmnas_tf.space.genotype import Genotype

MOST_CELLS = 8  # that are drawn; a search with --cell_sharing=cell may have twenty different ones
LEAST_SCALE = 1.0  # pixels a point: narrower, text is hard to read, so the picture scrolls
GREATEST_SCALE = 1.5  # of what is narrower than a chart
CHARTS: dict[str, tuple[Callable[[Genotype], Figure], str]] = {  # id, drawing and what it shows
    "inputs": (inputs_per_node, "How many inputs a node keeps (the paper's Fig. 4 b)"),
    "operations": (operations_per_edge, "How many operations an edge keeps (Fig. 4 c)"),
    "importance": (edge_importance, "Mean importance of the edges into each node (Fig. 6)"),
}


def picture(figure: Figure, *, title: str, description: str, key: str) -> Html:
    """Returns a drawing with its title below, as wide as the page if it is a chart; on a narrow screen it scrolls."""
    svg = Html(as_svg(figure, title=title, description=description, key=key))
    width = 72 * figure.get_figwidth()  # points
    most = f"; max-width: {GREATEST_SCALE * width:.0f}px" if figure.get_figwidth() < WIDTH else ""
    frame = element("div", svg, style=f"min-width: {LEAST_SCALE * width:.0f}px{most}")
    return element("figure", scrolling(title, frame), element("figcaption", title))


def alike(genotype: Genotype) -> list[list[int]]:
    """Returns the cells that are built, those with equal edges, operations and importances together."""
    groups: dict[object, list[int]] = {}
    for index in genotype.needed_cells():
        kind = genotype.topology.plans[index].reduction, genotype.cells[index].without_densities()
        groups.setdefault(kind, []).append(index)
    return list(groups.values())


def cells(facts: Facts) -> Html:
    """Returns a graph of each different cell."""
    genotype = facts.genotype
    if genotype is None:
        return Html()
    groups = alike(genotype)
    parts: list[object] = [
        element(
            "p",
            "Thick edges are important ones; their colours are the operations they carry. Beside an operation stands "
            "its importance and, where weights were masked, the share of them that is left. Dashed edges were cut.",
        )
    ]
    for group in groups[:MOST_CELLS]:
        parts += [element("h3", cell_title(genotype, group)), _cell(genotype, group)]
    if len(groups) > MOST_CELLS:
        parts.append(element("p", f"{len(groups) - MOST_CELLS} more cells that differ are in genotype.json."))
    unbuilt = sorted(set(range(genotype.topology.cells)) - set(genotype.needed_cells()))
    if unbuilt:
        parts.append(
            element("p", f"{named_cells(unbuilt).capitalize()}: not built, nothing that is left reads it.")
        )
    return joined(*parts)


def named_cells(group: list[int]) -> str:
    """Returns cell 1, or cells 0, 2."""
    return f"cell{'' if len(group) == 1 else 's'} {', '.join(map(str, group))}"


def cell_title(genotype: Genotype, group: list[int]) -> str:
    """Returns which cells these are."""
    kind = cell_type(genotype.topology.plans[group[0]].reduction)
    return f"{kind} {named_cells(group)}".capitalize()


def _cell(genotype: Genotype, group: list[int]) -> Html:
    index = group[0]
    cell = genotype.cells[index]
    genes = [gene for _, gene in cell.edges()]
    kept = (
        f"{len(genes)} of {len(genotype.topology.edges)} edges with "
        f"{counted(sum(len(gene.operations) for gene in genes), 'operation')} into "
        f"{counted(len(cell.living_nodes()), 'node')}"
    )
    of = f"; channels and densities are those of cell {index}" if len(group) > 1 else ""
    edges = "; ".join(
        f"{edge.source} to {edge.target}: {', '.join(operation.name for operation in gene.operations)}"
        for edge, gene in cell.edges()
    )
    return picture(
        draw_cell(genotype.topology, cell, index=index),
        title=f"{cell_title(genotype, group)}: {kept}{of}",
        description=f"Graph of a cell. Edges and their operations: {edges}.",
        key=f"cell-{index}",
    )


def charts(facts: Facts) -> Html:
    """Returns the paper's figures 4 (b), 4 (c) and 6 for this architecture."""
    if facts.genotype is None:
        return Html()
    return joined(
        *(
            picture(
                draw(facts.genotype),
                title=title,
                description=f"{title}, by type of cells.",
                key=f"chart-{key}",
            )
            for key, (draw, title) in CHARTS.items()
        )
    )
