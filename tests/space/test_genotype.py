"""The genotype: what it counts, what it writes, and that whatever it is made to read it never misbehaves."""

from __future__ import annotations

import copy
import dataclasses
import json
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hmnas_tf.reporting.results_table import derivation_lines
from hmnas_tf.space.genotype import CellGene, EdgeGene, Genotype, OperationGene
from hmnas_tf.space.topology import Edge, Topology


def edge(source: int, *names: str, beta: float = 0.5) -> EdgeGene:
    return EdgeGene(source, beta, tuple(OperationGene(name, 0.25) for name in names))


def fuzz(examples: int) -> settings:
    """The same examples in every run, and nothing left behind on the disk."""
    quiet = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(
        max_examples=examples, deadline=None, database=None, derandomize=True, suppress_health_check=quiet
    )


ALIVE = CellGene(((edge(0, "a"),), (), ()))  # three nodes, the first alive


def refused(make, *parts: str) -> None:
    """Checks that `make` raises a ValueError of one line that names all `parts`."""
    with pytest.raises(ValueError) as caught:
        make()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_living_nodes_uses_and_edges(genotype):
    hole = genotype.cells[1]
    assert hole.living_nodes() == (0, 2)
    assert [hole.uses(source) for source in range(5)] == [True, True, True, False, False]
    assert [edge for edge, _ in hole.edges()] == [Edge(0, 2), Edge(1, 2), Edge(2, 4)]
    assert [gene.beta for _, gene in hole.edges()] == [0.5, 0.125, 0.5]


def test_needed_cells_are_those_on_a_path_to_the_output(genotype, topology):
    assert genotype.needed_cells() == (0, 1, 3)
    one, both = CellGene(((edge(1, "a"),), (), ())), CellGene(((edge(0, "a"), edge(1, "a")), (), ()))
    assert Genotype(topology, (both, both, both, one)).needed_cells() == (0, 1, 2, 3)
    assert Genotype(topology, (ALIVE, ALIVE, ALIVE, ALIVE)).needed_cells() == (1, 3)
    assert Genotype(topology, (ALIVE, ALIVE, ALIVE, one)).needed_cells() == (0, 2, 3)
    assert Genotype(topology, (one, one, one, one)).needed_cells() == (0, 1, 2, 3)


def test_count_is_over_the_cells_that_are_built(genotype):
    # cell 0: 5 edges with 6 operations, cell 1: 3 with 3, cell 3: 1 with 2; cell 2 is not needed
    assert genotype.count() == {"edges": 9, "operations": 11}


def test_json_round_trip_is_exact(genotype):
    text = json.dumps(genotype.to_json(), allow_nan=False)
    assert Genotype.loads(text) == genotype
    assert json.dumps(Genotype.loads(text).to_json()) == text


@pytest.mark.parametrize(("channels", "stems"), [(0, ()), (2, ()), (2, (4,))])
@pytest.mark.parametrize("reduce_in", ["preprocessing", "pooling"])
def test_json_names_what_halves_only_where_it_is_no_operation(genotype, channels, stems, reduce_in):
    assert "reduce_in" not in genotype.to_json()["topology"]
    topology = dataclasses.replace(genotype.topology, reduce_in=reduce_in)
    cells = tuple(cell._replace(channels=channels) for cell in genotype.cells)
    early = Genotype(topology, cells, stems)
    data = early.to_json()
    assert (data["schema"], data["topology"]["reduce_in"]) == (4, reduce_in)
    assert Genotype.from_json(data) == early


def test_json_names_partial_channels_only_where_there_are_some(genotype):
    assert "partial_channels" not in genotype.to_json()["topology"]
    partial = dataclasses.replace(
        genotype, topology=dataclasses.replace(genotype.topology, partial_channels=2)
    )
    data = partial.to_json()
    assert data["topology"]["partial_channels"] == 2
    assert Genotype.from_json(data) == partial
    assert partial.resized(initial_channels=8).topology.partial_channels == 2
    refused(lambda: partial.resized(initial_channels=6), "initial_channels=6", "partial_channels=2")
    data["topology"]["partial_channels"] = 0
    refused(lambda: Genotype.from_json(data), "partial_channels=0", "between 1 and 4096")


def test_json_says_what_the_cells_are(genotype):
    data = genotype.to_json()
    assert [cell["type"] for cell in data["cells"]] == ["normal", "reduction", "reduction", "normal"]
    assert [cell["channels"] for cell in data["cells"]] == [4, 8, 16, 16]
    assert [node["index"] for node in data["cells"][1]["nodes"]] == [2, 3, 4]
    assert data["cells"][1]["nodes"][1]["edges"] == []


@st.composite
def genes(draw, nodes: int = 3, names: tuple[str, ...] = ("a", "b", "c")) -> CellGene:
    """A valid cell with random living nodes."""
    alive, cell = {0, 1}, []
    share = st.floats(0, 1)
    for n in range(nodes):
        least = int(n == nodes - 1 and alive == {0, 1})
        sources = draw(st.lists(st.sampled_from(sorted(alive)), unique=True, min_size=least))
        edges = []
        for source in sources:
            chosen = draw(st.lists(st.sampled_from(names), unique=True, min_size=1))
            operations = tuple(OperationGene(name, draw(share), draw(share)) for name in chosen)
            edges.append(EdgeGene(source, draw(share), operations))
        if edges:
            alive.add(2 + n)
        cell.append(tuple(edges))
    return CellGene(tuple(cell))


@fuzz(60)
@given(cells=st.lists(genes(), min_size=4, max_size=4))
def test_any_genotype_survives_a_round_trip(topology, cells):
    genotype = Genotype(topology, tuple(cells))
    assert Genotype.loads(json.dumps(genotype.to_json())) == genotype


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


def places(value, path=()):
    """Yields the path of every value inside JSON data."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


@fuzz(400)
@given(data=st.data())
def test_mutated_json_is_read_or_refused_in_one_line_but_never_breaks(genotype, data):
    broken = copy.deepcopy(genotype.to_json())
    for _ in range(data.draw(st.integers(1, 3))):
        *path, key = data.draw(st.sampled_from(list(places(broken)) or [("schema",)]))
        parent = broken
        for step in path:
            parent = parent[step]
        action = data.draw(st.sampled_from(["replace", "delete", "repeat"]))
        if action == "delete":
            del parent[key]
        elif action == "repeat" and isinstance(parent, list):
            parent.append(copy.deepcopy(parent[key]))
        else:
            parent[key] = data.draw(JSON_VALUES)
        if not broken:
            break
    try:
        read = Genotype.from_json(broken)
    except ValueError as error:
        assert "\n" not in str(error)
    else:
        assert Genotype.from_json(read.to_json()) == read


@fuzz(100)
@given(data=JSON_VALUES)
def test_arbitrary_json_is_refused(data):
    refused(lambda: Genotype.from_json(data), "genotype")


@fuzz(60)
@given(cut=st.integers(0, 10_000))
def test_cut_off_text_is_refused(genotype, cut):
    text = json.dumps(genotype.to_json())
    refused(lambda: Genotype.loads(text[: cut % len(text)]), "genotype is not JSON", "hmnas_tf.search")


@pytest.mark.parametrize("text", ["", "nonsense", "[" * 100_000, '{"schema": 1}x'])
def test_text_that_is_no_json_is_refused(text):
    refused(lambda: Genotype.loads(text), "genotype is not JSON")


def changed(genotype, path, value):
    data = genotype.to_json()
    *parents, key = path
    inner = data
    for step in parents:
        inner = inner[step]
    inner[key] = value
    return lambda: Genotype.from_json(data)


EDGE = ("cells", 0, "nodes", 0, "edges", 0)
OPERATION = (*EDGE, "operations", 0)
CHANGES = [  # path, value, what the message must name
    (("schema",), 5, ("schema is 5", "schemas 1 to 4")),
    (("schema",), True, ("genotype.schema", "int", "bool")),
    (("topology",), [], ("genotype.topology", "dict", "list")),
    (("topology", "cells"), 0, ("genotype.topology.cells=0", "between 1 and 4096")),
    (("topology", "nodes"), 4097, ("genotype.topology.nodes=4097", "4096")),
    (("topology", "nodes"), "4", ("genotype.topology.nodes", "int", "str")),
    (("topology", "initial_channels"), -4, ("initial_channels=-4",)),
    (("topology", "operations"), ["a", 1, "c"], ("genotype.topology.operations", "names")),
    (("topology", "stem"), "none\n", ("stem='none\\n'", "cifar")),
    (("cells",), {}, ("genotype.cells", "list")),
    (("cells",), [], ("0 cells", "4")),
    (("cells", 1), None, ("genotype.cells[1]", "nodes")),
    (("cells", 1, "nodes"), [], ("cell 1", "0 nodes", "3")),
    (("cells", 1, "nodes", 0, "edges"), None, ("genotype.cells[1].nodes[0].edges", "list")),
    ((*EDGE, "source"), 1.0, ("source", "int", "float")),
    ((*EDGE, "source"), 2, ("edge 2->2", "earlier")),
    ((*EDGE, "source"), -1, ("edge -1->2", "earlier")),
    ((*EDGE, "source"), 1, ("cell 0, node 2", "[1, 1]", "different")),
    ((*EDGE, "beta"), -0.5, ("beta=-0.5", "not below 0")),
    ((*EDGE, "beta"), math.inf, ("beta=inf", "finite")),
    ((*EDGE, "beta"), math.nan, ("beta=nan", "finite")),
    ((*EDGE, "beta"), True, ("edges[0].beta",)),
    ((*EDGE, "operations"), [], ("edge 0->2", "at least 1")),
    ((*OPERATION, "name"), 7, ("name", "str", "int")),
    ((*OPERATION, "name"), "z", ("edge 0->2", "['z']", "['a', 'b', 'c']")),
    ((*OPERATION, "density"), 1.5, ("density=1.5", "above 1")),
    ((*OPERATION, "alpha"), -1, ("alpha=-1",)),
]


@pytest.mark.parametrize(("path", "value", "parts"), CHANGES, ids=lambda value: str(value)[:40])
def test_every_wrong_value_is_refused_by_name(genotype, path, value, parts):
    refused(changed(genotype, path, value), *parts)


@pytest.mark.parametrize("value", ["0.5", None, [0.5]])
@pytest.mark.parametrize("path", [(*EDGE, "beta"), (*OPERATION, "alpha"), (*OPERATION, "density")])
def test_an_importance_that_is_no_number_is_refused(genotype, path, value):
    refused(changed(genotype, path, value), path[-1], type(value).__name__)


def test_an_importance_beyond_all_floats_is_refused(genotype):
    refused(changed(genotype, (*EDGE, "beta"), 10**400), "beta")


def test_operations_that_are_listed_twice_are_refused(genotype):
    """Two columns of one name could not be told apart."""
    refused(changed(genotype, ("topology", "operations"), ["a", "b", "c", "a"]), "operations", "different")


def test_a_repeated_operation_on_an_edge_is_refused(genotype):
    gene = genotype.to_json()["cells"][0]["nodes"][0]["edges"][0]["operations"][0]
    refused(changed(genotype, (*EDGE, "operations"), [gene, gene]), "edge 0->2", "['a', 'a']")


def test_a_missing_key_is_refused_by_name(genotype):
    data = genotype.to_json()
    del data["topology"]["stem"]
    refused(lambda: Genotype.from_json(data), "genotype.topology", "'stem'")


def test_genes_that_contradict_the_topology_are_refused(topology):
    def make(*cells):
        return lambda: Genotype(topology, cells)

    refused(make(ALIVE, ALIVE), "2 cells", "4")
    refused(make(ALIVE, ALIVE, ALIVE, CellGene(((edge(0, "a"),),))), "cell 3", "1 nodes", "3")
    refused(make(ALIVE, CellGene(((), (), ())), ALIVE, ALIVE), "cell 1", "no living node")
    dead = CellGene(((edge(0, "a"),), (), (edge(3, "b"),)))
    refused(make(ALIVE, ALIVE, dead, ALIVE), "cell 2, edge 3->4", "dead node")
    loop = CellGene(((edge(3, "a"),), (edge(0, "a"),), ()))
    refused(make(loop, ALIVE, ALIVE, ALIVE), "edge 3->2", "earlier")


def resizable(cells: int = 3) -> Genotype:
    """A genotype whose cells of a type are alike but for the densities of their weights."""
    topology = Topology(initial_channels=4, cells=cells, nodes=1, operations=("a", "b"))
    names = {False: "a", True: "b"}
    genes = [
        CellGene(((EdgeGene(0, 0.5, (OperationGene(names[plan.reduction], 0.5, 1 / (1 + plan.index)),)),),))
        for plan in topology.plans
    ]
    return Genotype(topology, tuple(genes))


def test_resized_repeats_the_cells_of_each_type():
    resized = resizable().resized(cells=20, initial_channels=36)
    assert (resized.topology.cells, resized.topology.initial_channels) == (20, 36)
    names = [cell.nodes[0][0].operations[0].name for cell in resized.cells]
    assert [index for index, name in enumerate(names) if name == "b"] == [20 // 3, 2 * 20 // 3]
    assert {cell.nodes[0][0].operations[0].density for cell in resized.cells} == {1.0}


def test_resized_to_its_own_size_changes_nothing():
    assert resizable().resized() == resizable()
    assert resizable().resized(cells=3).cells == resizable().cells
    assert resizable().resized(initial_channels=8).cells == resizable().cells


def test_cells_that_differ_or_are_missing_cannot_be_repeated(genotype):
    with pytest.raises(
        ValueError, match="reduction cells that differ.*20 cells instead of 4.*--cell_sharing=type"
    ):
        genotype.resized(cells=20)
    with pytest.raises(ValueError, match="has no normal cell, which 20 cells need"):
        resizable(cells=1).resized(cells=20)


def test_weighted_is_what_was_learned():
    assert resizable().weighted
    edge = EdgeGene(0, 1.0, (OperationGene("a", 1.0),))
    topology = Topology(initial_channels=4, cells=1, nodes=1, operations=("a", "b"))
    assert not Genotype(topology, (CellGene(((edge,),)),)).weighted


@pytest.mark.parametrize(
    ("sharing", "once"), [("type", "3 edges with 4 operations"), ("cell", "5 edges with 7 operations")]
)
def test_the_lines_of_a_derivation_count_shared_cells_in_both_ways(sharing, once):
    """Cells 1 and 2 are reduction cells, so with `type` the first two cells have all masks. Nobody reads cell 1."""
    topology = Topology(initial_channels=4, cells=3, nodes=2, operations=("a", "b"))
    one = CellGene(((edge(0, "a"),), ()))
    many = CellGene(((edge(0, "a", "b"),), (edge(2, "a"),)))
    first, _, third, total = derivation_lines(Genotype(topology, (one, many, many)), sharing).splitlines()
    assert first == "derivation: cell 0 keeps 1 of 5 edges with 1 operation into 1 node"
    assert third == "derivation: cell 2 keeps 2 of 5 edges with 3 operations into 2 nodes"
    assert total.startswith("derivation: 3 edges with 4 operations in the network; ")
    assert f"; {once} if cells with the same masks count once" in total
