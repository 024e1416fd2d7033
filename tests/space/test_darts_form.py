"""DARTS' form there and back; what it cannot express is refused with the reason; published architectures."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmnas_tf.settings.paper import PAPER_OPERATIONS
from hmnas_tf.space.darts_form import DartsForm, from_darts, to_darts
from hmnas_tf.space.genotype import CellGene, EdgeGene, Genotype, OperationGene
from hmnas_tf.space.published import PUBLISHED, published
from hmnas_tf.space.topology import Topology

TOPOLOGY = Topology(initial_channels=4, cells=3, nodes=2, operations=PAPER_OPERATIONS)
THEIRS = tuple("skip_connect" if name == "identity" else name for name in PAPER_OPERATIONS)
CONCAT = (2, 3)


def cells() -> st.SearchStrategy:
    """Two nodes, two different sources each, in order."""
    sources = st.tuples(st.just((0, 1)), st.sampled_from([(0, 1), (0, 2), (1, 2)]))
    names = st.lists(st.sampled_from(THEIRS), min_size=4, max_size=4)
    return st.builds(lambda s, n: tuple(zip(n, [*s[0], *s[1]], strict=True)), sources, names)


forms = st.builds(lambda normal, reduce: DartsForm(normal, CONCAT, reduce, CONCAT), cells(), cells())


def gene(source: int, *names: str, weight: float = 1.0) -> EdgeGene:
    return EdgeGene(source, weight, tuple(OperationGene(name, 1.0) for name in names))


GOOD = CellGene(((gene(0, "identity"), gene(1, "max_pool_3x3")), (gene(0, "identity"), gene(2, "identity"))))


@given(forms)
def test_there_and_back(form):
    genotype = from_darts(form, TOPOLOGY)
    assert to_darts(genotype) == form
    assert not genotype.weighted
    assert Genotype.from_json(genotype.to_json()) == genotype


@given(forms)
def test_text_there_and_back(form):
    assert DartsForm.parse(str(form)) == form


def test_the_text_of_darts_own_programs_is_read():
    text = """Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1), ('max_pool_3x3', 1), ('skip_connect', 0)],
        normal_concat=range(2, 4), reduce=[('avg_pool_3x3', 0), ('skip_connect', 1), ('dil_conv_5x5', 2),
        ('skip_connect', 1)], reduce_concat=[2, 3])"""
    form = DartsForm.parse(text)
    assert form.normal_concat == (2, 3)
    assert form.reduce[2] == ("dil_conv_5x5", 2)
    genotype = from_darts(form, TOPOLOGY)
    assert [edge.source for edge in genotype.cells[0].nodes[1]] == [0, 1]
    assert genotype.cells[0].nodes[0][1].operations[0].name == "identity"
    assert DartsForm.parse(f"\n MINE = {text}\n") == form, "as it stands in DARTS' own file and log"


def text_of(**changes: str) -> str:
    """Returns a text that is read, with some of its arguments changed."""
    fields = dict(normal="[('a', 0)]", normal_concat="[2]", reduce="[('a', 0)]", reduce_concat="range(2, 3)")
    return f"Genotype({', '.join(f'{name}={value}' for name, value in (fields | changes).items())})"


WRONG = [
    ("", "not one call of Genotype"),
    ("Genotype(", "never closed"),
    ("(" * 5000, "nested"),
    ("3", "not one call of Genotype"),
    ("Genotype()", "it has the fields []"),
    ("Genotype(normal=[], normal_concat=[], reduce=[])", "['normal', 'normal_concat', 'reduce']"),
    (text_of(other="1"), "'other'"),
    (text_of().replace("Genotype", "open"), "not one call of Genotype"),
    (text_of() + "; 1", "not one call of Genotype"),
    (text_of().replace("(", "(*[1], ", 1), "it has the fields"),
    (text_of().replace("(", "(normal=[], ", 1), "['normal', 'normal', 'normal_concat'"),
    (text_of(normal="open('x')"), "normal is not a list of literals"),
    (text_of(normal="{'a1': 0}"), "normal is not a list of literals"),
    (text_of(normal="[1]"), "normal has 1, which"),
    (text_of(normal="['a1']"), "normal has 'a1', which"),
    (text_of(reduce="[('a', 0, 1)]"), "reduce has ('a', 0, 1), which"),
    (text_of(normal="[('a', 'b')]"), "normal has ('a', 'b'), which"),
    (text_of(normal="[('a', 1.9)]"), "normal has ('a', 1.9), which"),
    (text_of(normal="[('a', 1e999)]"), "normal has ('a', inf), which"),
    (text_of(normal="[('a', True)]"), "normal has ('a', True), which"),
    (text_of(normal="[(5, 1)]"), "normal has (5, 1), which"),
    (text_of(normal_concat="[2.0]"), "normal_concat is not a list of nodes"),
    (text_of(normal_concat="4"), "normal_concat is not a list"),
    (text_of(normal_concat="range(10000)"), "normal_concat has a range"),
    (text_of(normal_concat="range(0, 10**9)"), "normal_concat is not a list of literals"),
    (text_of(normal_concat=f"range(0, 1{'0' * 30})"), "normal_concat has a range"),
    (text_of(reduce_concat="range(4, 2, -1)"), "reduce_concat has a range"),
    (text_of(reduce_concat="range()"), "reduce_concat has a range"),
]


def test_the_text_whose_changes_are_refused_is_read():
    assert DartsForm.parse(text_of()) == DartsForm((("a", 0),), (2,), (("a", 0),), (2,))


@pytest.mark.parametrize(("text", "words"), WRONG, ids=[text[:60] for text, _ in WRONG])
def test_other_text_is_refused_in_one_line_with_the_reason(text, words):
    with pytest.raises(ValueError, match="no architecture in DARTS' form") as caught:
        DartsForm.parse(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert " object at 0x" not in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text):
    with pytest.raises(ValueError, match="DARTS' form"):
        DartsForm.parse(text)


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (DartsForm((("skip_connect", 0),) * 3, CONCAT, (), CONCAT), "3 edges"),
        (DartsForm((("skip_connect", 0), ("skip_connect", 1)) * 2, (3,), (), CONCAT), "puts out nodes [3]"),
        (DartsForm((("skip_connect", 0),) * 4, CONCAT, (("skip_connect", 0),) * 4, CONCAT), "lists [0, 0]"),
        (
            DartsForm((("conv", 0), ("conv", 1)) * 2, CONCAT, (("conv", 0), ("conv", 1)) * 2, CONCAT),
            "['conv']",
        ),
        (DartsForm((("skip_connect", 0), ("skip_connect", 2)) * 2, CONCAT, (), CONCAT), "0 edges"),
        (
            DartsForm(*((("skip_connect", 0), ("skip_connect", 2)) * 2, CONCAT) * 2),
            "edge 2->2 must start at an earlier node",
        ),
        (DartsForm(*((("skip_connect", -1), ("skip_connect", 1)) * 2, CONCAT) * 2), "edge -1->2 must start"),
    ],
)
def test_forms_that_do_not_fit_are_refused(form, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        from_darts(form, TOPOLOGY)


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ((gene(0, "identity"),), "node 3 of cell 0 has 1"),
        ((), "node 3 of cell 0 has 0"),
        ((gene(0, "identity"), gene(1, "identity"), gene(2, "identity")), "node 3 of cell 0 has 3"),
        ((gene(0, "identity", "max_pool_3x3"), gene(1, "identity")), "edge 0->3 of cell 0 has 2"),
        ((gene(0, "identity", weight=0.5), gene(1, "identity")), "drop_importances=True"),
    ],
)
def test_genotypes_that_do_not_fit_are_refused_with_the_reason(node, words):
    cell = CellGene((GOOD.nodes[0], node))
    with pytest.raises(ValueError, match=re.escape(words)):
        to_darts(Genotype(TOPOLOGY, (cell, cell, cell)))


def test_cells_of_a_type_must_be_alike_and_both_types_there():
    other = CellGene((GOOD.nodes[0], (gene(0, "max_pool_3x3"), gene(1, "identity"))))
    with pytest.raises(ValueError, match="one reduction cell, but cell 2 differs"):
        to_darts(Genotype(TOPOLOGY, (GOOD, GOOD, other)))
    one = Topology(initial_channels=4, cells=1, nodes=2, operations=PAPER_OPERATIONS)
    with pytest.raises(ValueError, match="needs a normal cell"):
        to_darts(Genotype(one, (GOOD,)))


def test_importances_may_be_dropped_on_request():
    weighted = CellGene((GOOD.nodes[0], (gene(0, "identity", weight=0.5), gene(1, "identity"))))
    genotype = Genotype(TOPOLOGY, (weighted,) * 3)
    assert to_darts(genotype, drop_importances=True).normal[2:] == (("skip_connect", 0), ("skip_connect", 1))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_architectures_have_two_edges_a_node_at_any_size(name):
    genotype = published(name, initial_channels=36, cells=20)
    assert genotype.topology.cells == 20
    assert all(len(edges) == 2 for cell in genotype.cells for edges in cell.nodes)
    assert DartsForm.parse(str(PUBLISHED[name])) == PUBLISHED[name]
    back = to_darts(genotype)
    for n in range(4):
        part = slice(2 * n, 2 * n + 2)
        assert sorted(back.normal[part]) == sorted(PUBLISHED[name].normal[part])
        assert sorted(back.reduce[part]) == sorted(PUBLISHED[name].reduce[part])


def test_darts_v2_is_the_published_one():
    text = str(PUBLISHED["DARTS_V2"])
    assert text.startswith("Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0)")
    assert "('skip_connect', 0), ('dil_conv_3x3', 2)]" in text


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="'DARTS_V3' is no published.*DARTS_V1, DARTS_V2, PC_DARTS_cifar"):
        published("DARTS_V3", initial_channels=4, cells=3)
