"""DARTS' form of an architecture, which most tools of the field read and write, to and from a genotype."""

from __future__ import annotations

import ast
from typing import Any, NamedTuple

from hmnas_tf.space.genotype import CellGene, EdgeGene, Genotype, OperationGene
from hmnas_tf.space.topology import INPUTS, Topology

EDGES = 2  # inputs of every node
NAMES = {"identity": "skip_connect"}  # ours: DARTS'; the others are called alike
LARGEST_NODE = 1000  # in a text that is read: a `range` must not fill the memory
FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")


class DartsForm(NamedTuple):
    """A normal and a reduction cell: two (operation, source) a node, node by node, and the nodes that are put out.

    >>> cell = (("sep_conv_3x3", 0), ("skip_connect", 1))
    >>> form = DartsForm(cell, (2,), cell, (2,))
    >>> DartsForm.parse(str(form)) == form
    True
    """

    normal: tuple[tuple[str, int], ...]
    normal_concat: tuple[int, ...]
    reduce: tuple[tuple[str, int], ...]
    reduce_concat: tuple[int, ...]

    def __str__(self) -> str:
        """Returns the text that DARTS' programs print and read."""
        fields = (f"{name}={list(value)}" for name, value in zip(FIELDS, self, strict=True))
        return f"Genotype({', '.join(fields)})"

    @staticmethod
    def parse(text: str) -> DartsForm:
        """Reads the text that DARTS' programs print, also behind `NAME =`; nothing in it is executed.

        Raises:
            ValueError: if it is anything else.
        """
        expected = "Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=[2, ...], reduce=..., reduce_concat=...)"
        try:
            arguments = _arguments(text)
            cells = [_inputs(key, arguments[key]) for key in FIELDS[::2]]
            concats = [_nodes(key, arguments[key]) for key in FIELDS[1::2]]
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            why = str(error) or type(error).__name__
            raise ValueError(
                f"this is no architecture in DARTS' form ({why}): expected {expected}."
            ) from error
        return DartsForm(cells[0], concats[0], cells[1], concats[1])


def _arguments(text: str) -> dict[str | None, ast.expr]:
    """Returns the arguments of the call `Genotype(...)` that a text consists of."""
    body = ast.parse(text.strip()).body
    call = body[0].value if len(body) == 1 and isinstance(body[0], ast.Assign | ast.Expr) else None
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Genotype"):
        raise ValueError("it is not one call of Genotype")
    names = [word.arg for word in call.keywords]
    if call.args or sorted(map(str, names)) != sorted(FIELDS):  # `ast` lets an argument come twice
        raise ValueError(f"it has the fields {sorted(map(str, names))}")
    return {word.arg: word.value for word in call.keywords}


def _inputs(key: str, node: ast.expr) -> tuple[tuple[str, int], ...]:
    pairs = _literal(key, node)
    for pair in pairs:  # a bool is an int, but no node
        if not isinstance(pair, list | tuple) or [type(part) for part in pair] != [str, int]:
            raise ValueError(f"{key} has {pair!r}, which is not an operation and its source")
    return tuple((name, source) for name, source in pairs)


def _nodes(key: str, node: ast.expr) -> tuple[int, ...]:
    """Reads a list of numbers or `range(first, stop)`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
        numbers = _literal(key, ast.List(node.args))
        if node.keywords or len(numbers) not in (1, 2) or not all(map(_is_node, numbers)):
            raise ValueError(f"{key} has a range that is not one of nodes")
        return tuple(range(*numbers))
    numbers = _literal(key, node)
    if not all(map(_is_node, numbers)):
        raise ValueError(f"{key} is not a list of nodes")
    return tuple(numbers)


def _is_node(value: Any) -> bool:
    return type(value) is int and 0 <= value <= LARGEST_NODE


def _literal(key: str, node: ast.expr) -> list | tuple:
    """Returns a list or tuple of literals."""
    try:
        value = ast.literal_eval(node)
    except (TypeError, ValueError):  # whose own words are about Python's syntax tree
        value = None
    if not isinstance(value, list | tuple):
        raise ValueError(f"{key} is not a list of literals")
    return value


def from_darts(form: DartsForm, topology: Topology) -> Genotype:
    """Returns the genotype of an architecture in DARTS' form, everything of weight 1.

    Args:
        form: two inputs a node, as many nodes as the topology has.
        topology: of the network.

    Raises:
        ValueError: if it has other nodes or operations, a node reads a source twice, or not all nodes are put out.

    >>> cell = (("sep_conv_3x3", 0), ("skip_connect", 1))
    >>> names = ("sep_conv_3x3", "identity")
    >>> topology = Topology(initial_channels=16, cells=3, nodes=1, operations=names)
    >>> from_darts(DartsForm(cell, (2,), cell, (2,)), topology).count()
    {'edges': 6, 'operations': 6}
    """
    genes = {False: (form.normal, form.normal_concat), True: (form.reduce, form.reduce_concat)}
    cells = {reduction: _cell(*gene, topology.nodes) for reduction, gene in genes.items()}
    return Genotype(topology, tuple(cells[plan.reduction] for plan in topology.plans))


def _cell(gene: tuple[tuple[str, int], ...], concat: tuple[int, ...], nodes: int) -> CellGene:
    expected = tuple(range(INPUTS, INPUTS + nodes))
    if len(gene) != EDGES * nodes or tuple(sorted(concat)) != expected:
        raise ValueError(
            f"DARTS' form has {len(gene)} edges and puts out nodes {list(concat)}: expected {EDGES * nodes} edges and "
            f"nodes {list(expected)}, since every living node of a cell is put out."
        )
    ours = {theirs: name for name, theirs in NAMES.items()}
    edges = [EdgeGene(source, 1.0, (OperationGene(ours.get(name, name), 1.0),)) for name, source in gene]
    return CellGene(tuple(tuple(sorted(edges[EDGES * n : EDGES * n + EDGES])) for n in range(nodes)))


def to_darts(genotype: Genotype, *, drop_importances: bool = False) -> DartsForm:
    """Returns DARTS' form of a genotype whose cells allow it; densities of weights have no place in it.

    Args:
        genotype: two edges a node, one operation an edge, the same in all cells of a type.
        drop_importances: whether importances that differ from 1, which it cannot express either, may be lost.

    Raises:
        ValueError: saying what stands in the way.

    >>> from hmnas_tf.space.published import published
    >>> to_darts(published("DARTS_V2", initial_channels=36, cells=20)).normal[:2]
    (('sep_conv_3x3', 0), ('sep_conv_3x3', 1))
    """
    if genotype.narrowed:
        raise ValueError(
            "DARTS' form has one number of channels for all cells, which doubles at reductions, and this genotype has "
            "widths of its own: it cannot be written in that form."
        )
    if genotype.weighted and not drop_importances:
        raise ValueError(
            "DARTS' form knows no importances, and this genotype has some that are not 1: pass "
            "drop_importances=True to lose them."
        )
    found: dict[bool, tuple[tuple[str, int], ...]] = {}
    for plan, cell in zip(genotype.topology.plans, genotype.cells, strict=True):
        form = _form(cell, plan.index)
        if found.setdefault(plan.reduction, form) != form:
            kind = "reduction" if plan.reduction else "normal"
            raise ValueError(
                f"DARTS' form has one {kind} cell, but cell {plan.index} differs from the first of them."
            )
    missing = {False, True} - found.keys()
    if missing:
        kind = "reduction" if True in missing else "normal"
        raise ValueError(f"DARTS' form needs a {kind} cell, and this genotype has none.")
    concat = tuple(range(INPUTS, INPUTS + genotype.topology.nodes))
    return DartsForm(found[False], concat, found[True], concat)


def _form(cell: CellGene, index: int) -> tuple[tuple[str, int], ...]:
    form = []
    for n, edges in enumerate(cell.nodes):
        if len(edges) != EDGES:
            raise ValueError(
                f"DARTS' form has {EDGES} edges into a node, but node {INPUTS + n} of cell {index} has {len(edges)}."
            )
        for edge in edges:
            if len(edge.operations) != 1:
                raise ValueError(
                    f"DARTS' form has one operation on an edge, but edge {edge.source}->{INPUTS + n} of cell {index} "
                    f"has {len(edge.operations)}."
                )
            name = edge.operations[0].name
            form.append((NAMES.get(name, name), edge.source))
    return tuple(form)
