"""The genes of a genotype: what survives of an edge, an operation, a cell; and their form in a file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from hmnas_tf.settings.paper import LEAST_CHANNELS
from hmnas_tf.space.topology import INPUTS, Edge, Topology


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
    """A cell: for each intermediate node its surviving incoming edges, and how many of its channels survive.

    A node without an edge is dead; 0 channels are those of the topology's plan.
    """

    nodes: tuple[tuple[EdgeGene, ...], ...]
    channels: int = 0

    def living_nodes(self) -> tuple[int, ...]:
        """Returns the positions, from 0, of the intermediate nodes that are alive."""
        return tuple(n for n, edges in enumerate(self.nodes) if edges)

    def uses(self, source: int) -> bool:
        """Returns whether any surviving edge leaves `source`."""
        return any(edge.source == source for edges in self.nodes for edge in edges)

    def without_densities(self) -> CellGene:
        """Returns the cell as if no weight were masked: cells that share alpha and beta are equal then."""
        return self._replace(
            nodes=tuple(
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


def edge_to_json(edge: EdgeGene) -> dict[str, Any]:
    """Returns an edge as JSON-able data."""
    operations = [operation._asdict() for operation in edge.operations]
    return {"source": edge.source, "beta": edge.beta, "operations": operations}


def cell_from_json(data: Any, where: str, *, widths: bool) -> CellGene:
    """Reads a cell; `widths` says whether it has a number of channels of its own."""
    nodes = []
    for n, node in enumerate(entry(data, "nodes", list, where)):
        place, edges = f"{where}.nodes[{n}]", []
        for e, edge in enumerate(entry(node, "edges", list, place)):
            inner = f"{place}.edges[{e}]"
            genes = tuple(
                OperationGene(
                    entry(gene, "name", str, inner),
                    _number(gene, "alpha", inner),
                    _number(gene, "density", inner, 1),
                )
                for gene in entry(edge, "operations", list, inner)
            )
            edges.append(EdgeGene(entry(edge, "source", int, inner), _number(edge, "beta", inner), genes))
        nodes.append(tuple(edges))
    return CellGene(tuple(nodes), entry(data, "channels", int, where) if widths else 0)


def entry(data: Any, key: str, kind: type | tuple[type, ...], where: str) -> Any:
    """Returns an entry of an object that was read, of the kind that is expected there."""
    if not isinstance(data, dict) or key not in data:
        raise ValueError(f"{where} must be an object with the key {key!r}.")
    value = data[key]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        expected = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
        raise ValueError(f"{where}.{key} must be of type {expected}, but it is {type(value).__name__}.")
    return value


def _number(data: Any, key: str, where: str, high: float = math.inf) -> float:
    value = entry(data, key, (int, float), where)
    if isinstance(value, bool) or not 0 <= value <= min(high, 1e300):  # false for NaN, too
        raise ValueError(f"{where}.{key}={value} must be a finite number, not below 0 nor above {high}.")
    return float(value)


def check_cell(index: int, cell: CellGene, topology: Topology) -> None:
    """Refuses a cell that contradicts the topology, has an edge from a dead node, or no living node."""
    where, most = f"genotype cell {index}", topology.plans[index].channels
    if cell.channels and not LEAST_CHANNELS <= cell.channels <= most:
        raise ValueError(f"{where} has {cell.channels} channels: expected {LEAST_CHANNELS} to {most}.")
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


def check_stems(stems: Sequence[Any], topology: Topology) -> None:
    """Refuses channels of stems that contradict the topology."""
    most = topology.stem_channels
    whole = len(stems) == len(most) and all(type(number) is int for number in stems)
    if not whole or not all(LEAST_CHANNELS <= n <= m for n, m in zip(stems, most, strict=True)):
        raise ValueError(
            f"genotype.stem_channels is {list(stems)}: expected {len(most)} of {LEAST_CHANNELS} to {most[0]}."
        )


def _check_names(place: str, names: list, known: Any, least: int = 1) -> None:
    test: Callable[[Any], bool] = known.__contains__
    if len(names) < least or len(set(names)) != len(names) or not all(map(test, names)):
        raise ValueError(
            f"{place} lists {names}: expected different ones of {list(known)}, at least {least}."
        )
