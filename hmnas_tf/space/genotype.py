"""The genotype: which edges and operations of each cell survived, and how much each one weighs."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from hmnas_tf.space.topology import INPUTS, Edge, Topology

SCHEMA = 1


class OperationGene(NamedTuple):
    """A surviving operation: its importance after the softmax (Eq. 1) and the share of its weights that is not 0."""

    name: str
    alpha: float
    density: float = 1.0


class EdgeGene(NamedTuple):
    """A surviving edge into a node: where it comes from, its importance (Eq. 2), its operations."""

    source: int
    beta: float
    operations: tuple[OperationGene, ...]


class CellGene(NamedTuple):
    """A cell: for each intermediate node its surviving incoming edges; a node without any is dead."""

    nodes: tuple[tuple[EdgeGene, ...], ...]

    def living_nodes(self) -> tuple[int, ...]:
        """Returns the positions, from 0, of the intermediate nodes that are alive."""
        return tuple(n for n, edges in enumerate(self.nodes) if edges)

    def uses(self, source: int) -> bool:
        """Returns whether any surviving edge leaves `source`."""
        return any(edge.source == source for edges in self.nodes for edge in edges)

    def without_densities(self) -> CellGene:
        """Returns the cell as if no weight were masked: cells that share alpha and beta are equal then."""
        return CellGene(
            tuple(
                tuple(
                    edge._replace(operations=tuple(o._replace(density=1.0) for o in edge.operations))
                    for edge in edges
                )
                for edges in self.nodes
            )
        )

    def edges(self) -> Iterator[tuple[Edge, EdgeGene]]:
        """Yields every surviving edge with its gene."""
        for n, edges in enumerate(self.nodes):
            for gene in edges:
                yield Edge(gene.source, INPUTS + n), gene


@dataclasses.dataclass(frozen=True)
class Genotype:
    """A derived architecture, one gene a cell; it stores everything needed to build the network but its weights.

    Args:
        topology: of the supernet it was cut from.
        cells: one gene for each cell of the topology.

    Raises:
        ValueError: if a gene contradicts the topology, an edge starts at a dead node, or a cell has no living node.
    """

    topology: Topology
    cells: tuple[CellGene, ...]

    def __post_init__(self):
        if len(self.cells) != self.topology.cells:
            raise ValueError(f"genotype has {len(self.cells)} cells, its topology {self.topology.cells}.")
        for index, cell in enumerate(self.cells):
            _check_cell(index, cell, self.topology)

    @property
    def weighted(self) -> bool:
        """Whether importances were learned: hand rules and published architectures weigh everything 1."""
        genes = [gene for cell in self.cells for _, gene in cell.edges()]
        return any(gene.beta * operation.alpha != 1.0 for gene in genes for operation in gene.operations)

    def needed_cells(self) -> tuple[int, ...]:
        """Returns the indices of the cells on a path to the output; the others need not be built."""
        needed, last = set(), len(self.cells) - 1
        for index in range(last, -1, -1):
            after = [(index + 1, 1), (index + 2, 0)]  # (reader, which of its inputs this cell is)
            if index == last or any(i in needed and self.cells[i].uses(s) for i, s in after):
                needed.add(index)
        return tuple(sorted(needed))

    def count(self, cells: Iterable[int] | None = None) -> dict[str, int]:
        """Returns the numbers of surviving edges and operations over the given cells, or over those that are built."""
        indices = self.needed_cells() if cells is None else cells
        edges = [gene for index in indices for _, gene in self.cells[index].edges()]
        return {"edges": len(edges), "operations": sum(len(gene.operations) for gene in edges)}

    def resized(self, *, cells: int = 0, initial_channels: int = 0) -> Genotype:
        """Returns the architecture at another size, every cell like the first of its type (normal or reduction).

        Args:
            cells: number of cells; 0 keeps it.
            initial_channels: C of the first cell; 0 keeps it.

        Raises:
            ValueError: if cells of one type differ, or a type is needed that this genotype has no cell of.
        """
        changes = {"cells": cells, "initial_channels": initial_channels}
        topology = dataclasses.replace(self.topology, **{k: v for k, v in changes.items() if v})
        if topology.cells == self.topology.cells:
            return Genotype(topology, self.cells)
        genes: dict[bool, CellGene] = {}
        for plan, cell in zip(self.topology.plans, self.cells, strict=True):
            kind = "reduction" if plan.reduction else "normal"
            if genes.setdefault(plan.reduction, cell).without_densities() != cell.without_densities():
                raise ValueError(
                    f"genotype has {kind} cells that differ, so it cannot have {cells} cells instead of "
                    f"{self.topology.cells}: search with --cell_sharing=type."
                )
        missing = {plan.reduction for plan in topology.plans} - genes.keys()
        if missing:
            kind = "reduction" if True in missing else "normal"
            raise ValueError(
                f"genotype of {self.topology.cells} cells has no {kind} cell, which {cells} cells need."
            )
        return Genotype(topology, tuple(genes[plan.reduction].without_densities() for plan in topology.plans))

    def to_json(self) -> dict[str, Any]:
        """Returns the genotype as JSON-able data; `from_json` reads it back."""
        cells = []
        for plan, cell in zip(self.topology.plans, self.cells, strict=True):
            nodes = [
                {"index": INPUTS + n, "edges": [_edge_to_json(edge) for edge in edges]}
                for n, edges in enumerate(cell.nodes)
            ]
            kind = "reduction" if plan.reduction else "normal"
            cells.append({"index": plan.index, "type": kind, "channels": plan.channels, "nodes": nodes})
        topology = dataclasses.asdict(self.topology) | {"operations": list(self.topology.operations)}
        if topology["partial_channels"] == 1:  # as files have it that are older than this setting
            del topology["partial_channels"]
        return {"schema": SCHEMA, "topology": topology, "cells": cells}

    @staticmethod
    def from_json(data: Any) -> Genotype:
        """Reads what `to_json` returned, checking every value.

        Raises:
            ValueError: naming the place, what was expected there and what came.
        """
        if _get(data, "schema", int, "genotype") != SCHEMA:
            raise ValueError(
                f"genotype.schema is {data['schema']}, but this version reads schema {SCHEMA} only."
            )
        raw = {"partial_channels": 1} | _get(data, "topology", dict, "genotype")
        numbers = ("initial_channels", "cells", "nodes", "partial_channels")
        shape = {k: _get(raw, k, int, "genotype.topology") for k in numbers}
        for key, value in shape.items():
            if not 0 < value <= 4096:
                raise ValueError(f"genotype.topology.{key}={value} must be between 1 and 4096.")
        names = _get(raw, "operations", list, "genotype.topology")
        stem = _get(raw, "stem", str, "genotype.topology")
        if not all(isinstance(name, str) for name in names):
            raise ValueError("genotype.topology.operations must be a list of names.")
        topology = Topology(**shape, operations=tuple(names), stem=stem)
        cells = _get(data, "cells", list, "genotype")
        return Genotype(
            topology, tuple(_cell_from_json(c, f"genotype.cells[{i}]") for i, c in enumerate(cells))
        )

    @staticmethod
    def loads(text: str) -> Genotype:
        """Reads a genotype from JSON text.

        Raises:
            ValueError: if the text is no JSON or not a genotype.
        """
        try:
            data = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(
                f"genotype is not JSON ({error}): write it again with hmnas_tf.search."
            ) from error
        return Genotype.from_json(data)


def _edge_to_json(edge: EdgeGene) -> dict[str, Any]:
    operations = [operation._asdict() for operation in edge.operations]
    return {"source": edge.source, "beta": edge.beta, "operations": operations}


def _cell_from_json(data: Any, where: str) -> CellGene:
    nodes = []
    for n, node in enumerate(_get(data, "nodes", list, where)):
        place, edges = f"{where}.nodes[{n}]", []
        for e, edge in enumerate(_get(node, "edges", list, place)):
            inner = f"{place}.edges[{e}]"
            genes = tuple(
                OperationGene(
                    _get(gene, "name", str, inner),
                    _number(gene, "alpha", inner),
                    _number(gene, "density", inner, 1),
                )
                for gene in _get(edge, "operations", list, inner)
            )
            edges.append(EdgeGene(_get(edge, "source", int, inner), _number(edge, "beta", inner), genes))
        nodes.append(tuple(edges))
    return CellGene(tuple(nodes))


def _get(data: Any, key: str, kind: type | tuple[type, ...], where: str) -> Any:
    if not isinstance(data, dict) or key not in data:
        raise ValueError(f"{where} must be an object with the key {key!r}.")
    value = data[key]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        expected = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
        raise ValueError(f"{where}.{key} must be of type {expected}, but it is {type(value).__name__}.")
    return value


def _number(data: Any, key: str, where: str, high: float = math.inf) -> float:
    value = _get(data, key, (int, float), where)
    if isinstance(value, bool) or not 0 <= value <= min(high, 1e300):  # false for NaN, too
        raise ValueError(f"{where}.{key}={value} must be a finite number, not below 0 nor above {high}.")
    return float(value)


def _check_cell(index: int, cell: CellGene, topology: Topology) -> None:
    where = f"genotype cell {index}"
    if len(cell.nodes) != topology.nodes:
        raise ValueError(f"{where} has {len(cell.nodes)} nodes, its topology {topology.nodes}.")
    if not cell.living_nodes():
        raise ValueError(f"{where} has no living node: it would leave the network without a path.")
    for edge, gene in cell.edges():
        place = f"{where}, edge {edge.source}->{edge.target}"
        if not 0 <= edge.source < edge.target:
            raise ValueError(f"{place} must start at an earlier node.")
        if edge.source >= INPUTS and not cell.nodes[edge.source - INPUTS]:
            raise ValueError(f"{place} starts at a dead node.")
        _check_names(place, [operation.name for operation in gene.operations], topology.operations)
    for n, edges in enumerate(cell.nodes):
        _check_names(
            f"{where}, node {INPUTS + n}", [gene.source for gene in edges], range(INPUTS + n), least=0
        )


def _check_names(place: str, names: list, known: Any, least: int = 1) -> None:
    test: Callable[[Any], bool] = known.__contains__
    if len(names) < least or len(set(names)) != len(names) or not all(map(test, names)):
        raise ValueError(
            f"{place} lists {names}: expected different ones of {list(known)}, at least {least}."
        )
