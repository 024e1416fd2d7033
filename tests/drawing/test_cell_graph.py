"""Every surviving edge and operation of a cell is drawn, as thick and as long as it is important, and legibly."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.text import Text

from hmnas_tf.drawing.cell_graph import draw_cell
from hmnas_tf.drawing.picture import as_png
from hmnas_tf.drawing.theme import INK, MUTED, operation_colour
from hmnas_tf.space.genotype import CellGene, EdgeGene, OperationGene

KINDS = {  # nodes of the topology, share of edges, share of operations, dead node
    "all 14 edges, all 7 operations": (4, 1.0, 1.0, None),
    "few edges": (4, 0.4, 0.15, None),
    "a dead node": (4, 0.7, 0.4, 3),
    "the first node is dead": (4, 0.7, 0.3, 2),
    "eight nodes": (8, 0.7, 0.5, 4),
    "one node": (1, 1.0, 0.3, None),
}


@pytest.fixture(scope="module", params=KINDS)
def drawn(request, make_topology, make_cell):
    """A topology, a cell of it, and the axes of its picture."""
    nodes, edges, operations, dead = KINDS[request.param]
    topology = make_topology(nodes)
    cell = make_cell(topology, edges, operations, dead)
    figure = draw_cell(topology, cell, index=1)
    return topology, cell, figure


def by_gid(figure, prefix: str) -> dict:
    """Returns the artists whose gid begins with `prefix`, by the rest of it."""
    (axes,) = figure.axes
    found = {str(artist.get_gid()): artist for artist in axes.get_children()}
    return {gid.removeprefix(prefix): artist for gid, artist in found.items() if gid.startswith(prefix)}


def texts(figure) -> list[Text]:
    (axes,) = figure.axes
    return [artist for artist in axes.texts if artist.get_text()]


def test_every_surviving_edge_is_drawn_and_every_other_is_thin_and_dashed(drawn):
    topology, cell, figure = drawn
    alive = {f"{edge.source}-{edge.target}" for edge, _ in cell.edges()}
    assert set(by_gid(figure, "edge-")) == set(by_gid(figure, "operations-")) == alive
    cut = by_gid(figure, "cut-")
    assert set(cut) == {f"{e.source}-{e.target}" for e in topology.edges} - alive
    edges = by_gid(figure, "edge-")
    thinnest = min(line.get_linewidth() for line in edges.values())
    for line in cut.values():
        assert line.get_color() == MUTED
        assert line.is_dashed()
        assert line.get_linewidth() < thinnest


def test_width_is_ordered_as_importance_and_proportional_to_it(drawn):
    _, cell, figure = drawn
    betas = {f"{edge.source}-{edge.target}": gene.beta for edge, gene in cell.edges()}
    widths = {name: artist.get_linewidths()[0] for name, artist in by_gid(figure, "operations-").items()}
    order = sorted(betas, key=betas.get)
    assert [widths[name] for name in order] == sorted(widths.values())
    strongest = order[-1]
    for name, width in widths.items():
        assert width == pytest.approx(max(1.2, widths[strongest] * betas[name] / betas[strongest]))


def test_operations_share_the_length_of_their_edge_by_importance_in_their_colours(drawn):
    topology, cell, figure = drawn
    lines = by_gid(figure, "operations-")
    for edge, gene in cell.edges():
        line: LineCollection = lines[f"{edge.source}-{edge.target}"]
        names = [operation.name for operation in gene.operations]
        expected = [to_rgba(operation_colour(topology.operations.index(name))) for name in names]
        assert [tuple(colour) for colour in line.get_colors()] == expected
        pieces = line.get_segments()
        for before, after in itertools.pairwise(pieces):
            assert before[-1] == pytest.approx(after[0])
        steps = np.array([len(piece) - 1 for piece in pieces])  # the whole curve has 32
        alphas = np.array([operation.alpha for operation in gene.operations])
        assert steps == pytest.approx(32 * alphas / alphas.sum(), abs=2.0)


def test_the_table_has_every_number(drawn):
    topology, cell, figure = drawn
    words = [text.get_text() for text in texts(figure)]
    for name in topology.operations:
        assert name in words
    for edge, gene in cell.edges():
        assert f"{gene.beta:.3f}" in words
        assert f"{edge.source}→{edge.target}" in words
        for operation in gene.operations:
            density = f" · {100 * operation.density:.0f} %" if operation.density < 1 else ""
            assert f"{operation.alpha:.2f}{density}" in words
    survivors = sum(len(gene.operations) for _, gene in cell.edges())
    edges = len(list(cell.edges()))
    assert words.count("-") == edges * len(topology.operations) - survivors


def test_dead_nodes_are_grey_and_are_not_put_out(drawn):
    topology, cell, figure = drawn
    nodes = by_gid(figure, "node-")
    assert set(nodes) == {str(node) for node in range(2 + topology.nodes)}
    dead = {str(2 + n) for n, edges in enumerate(cell.nodes) if not edges}
    for name, text in nodes.items():
        assert text.get_color() == (MUTED if name in dead else INK)
    assert sum(text.get_text() == "dead" for text in texts(figure)) == len(dead)


def test_no_text_lies_on_another_or_outside(drawn):
    _, _, figure = drawn
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    boxes = [text.get_window_extent(renderer).padded(-1.0) for text in texts(figure)]
    for (i, one), (j, other) in itertools.combinations(enumerate(boxes), 2):
        assert not one.overlaps(other), (texts(figure)[i].get_text(), texts(figure)[j].get_text())
    width, height = canvas.get_width_height()
    for box in boxes:
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= width
        assert box.y1 <= height


def test_few_operations_stand_at_their_edge_and_many_only_in_the_table(make_topology, make_cell):
    topology = make_topology()
    few, many = (draw_cell(topology, make_cell(topology, 1.0, share), index=0) for share in (0.0, 1.0))
    assert any(text.get_text().startswith("0→2\nidentity 1.00") for text in texts(few))
    assert not any("\n" in text.get_text() for text in texts(many))


def test_a_cell_says_what_it_is(drawn):
    assert "cell 1: reduction, 32 channels" in [text.get_text() for text in texts(drawn[2])]


def test_importances_of_0_can_be_drawn(make_topology):
    topology = make_topology(nodes=1, operations=("identity", "max_pool_3x3"))
    genes = tuple(OperationGene(name, 0.0) for name in topology.operations)
    figure = draw_cell(topology, CellGene(((EdgeGene(0, 0.0, genes),),)), index=0)
    (pieces,) = by_gid(figure, "operations-").values()
    assert len(pieces.get_segments()) == 2
    assert as_png(figure).startswith(b"\x89PNG")


@pytest.mark.parametrize("channels", [0, 3, 8])
def test_the_title_has_the_channels_that_are_left(channels, make_topology, make_cell):
    topology = make_topology(2)
    cell = CellGene(make_cell(topology, 1.0, 1.0).nodes, channels)
    most = topology.plans[0].channels
    expected = f"{channels} of {most} channels" if 0 < channels < most else f", {most} channels"
    assert any(expected in text.get_text() for text in texts(draw_cell(topology, cell, index=0)))
