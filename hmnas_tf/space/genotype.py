"""The genotype: which edges and operations of each cell survived, and how much each one weighs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from typing import Any

from hmnas_tf.space.genes import (
    CellGene,
    EdgeGene,
    OperationGene,
    cell_from_json,
    check_cell,
    check_stems,
    edge_to_json,
    entry,
)
from hmnas_tf.space.topology import INPUTS, Topology

__all__ = ["CellGene", "EdgeGene", "Genotype", "OperationGene"]
# 4 has what halves if it is not the operations, 3 channels of stems, 2 those of cells only, 1 none of these.
SCHEMA = 4


@dataclasses.dataclass(frozen=True)
class Genotype:
    """A derived architecture, one gene a cell; it stores everything needed to build the network but its weights.

    Args:
        topology: of the supernet it was cut from.
        cells: one gene for each cell of the topology.
        stems: how many channels each stem puts out; none are those of the topology.

    Raises:
        ValueError: if a gene contradicts the topology, an edge starts at a dead node, or a cell has no living node.
    """

    topology: Topology
    cells: tuple[CellGene, ...]
    stems: tuple[int, ...] = ()

    def __post_init__(self):
        if len(self.cells) != self.topology.cells:
            raise ValueError(f"genotype has {len(self.cells)} cells, its topology {self.topology.cells}.")
        for index, cell in enumerate(self.cells):
            check_cell(index, cell, self.topology)
        if self.stems:
            check_stems(self.stems, self.topology)

    @property
    def weighted(self) -> bool:
        """Whether importances were learned: hand rules and published architectures weigh everything 1."""
        genes = [gene for cell in self.cells for _, gene in cell.edges()]
        return any(gene.beta * operation.alpha != 1.0 for gene in genes for operation in gene.operations)

    @property
    def narrowed(self) -> bool:
        """Whether cells or stems have numbers of channels of their own."""
        return bool(self.stems) or any(cell.channels for cell in self.cells)

    def channels(self, index: int) -> int:
        """Returns the number of channels of a cell."""
        return self.cells[index].channels or self.topology.plans[index].channels

    @property
    def stem_channels(self) -> tuple[int, ...]:
        """How many channels each stem puts out."""
        return self.stems or self.topology.stem_channels

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
            ValueError: if cells of one type differ or have widths of their own, or a type is needed that this genotype
                has no cell of.
        """
        changes = {"cells": cells, "initial_channels": initial_channels}
        if self.narrowed and any(changes.values()):
            raise ValueError(
                "genotype has cells with widths of their own, so it cannot be given other cells or channels: ask for "
                "another size with a budget, or leave evaluation_cells and evaluation_channels at 0."
            )
        topology = dataclasses.replace(self.topology, **{k: v for k, v in changes.items() if v})
        if topology.cells == self.topology.cells:
            return dataclasses.replace(self, topology=topology)
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
                {"index": INPUTS + n, "edges": [edge_to_json(edge) for edge in edges]}
                for n, edges in enumerate(cell.nodes)
            ]
            kind = "reduction" if plan.reduction else "normal"
            channels = self.channels(plan.index)
            cells.append({"index": plan.index, "type": kind, "channels": channels, "nodes": nodes})
        topology = dataclasses.asdict(self.topology) | {"operations": list(self.topology.operations)}
        if topology["partial_channels"] == 1:  # as files have it that are older than this setting
            del topology["partial_channels"]
        schema = 3 if self.stems else 2 if self.narrowed else 1
        own: dict[str, Any] = {"stem_channels": list(self.stems)} if self.stems else {}
        if topology["reduce_in"] == "operations":
            del topology["reduce_in"]
        else:
            schema, own = SCHEMA, {"narrowed": self.narrowed, "stem_channels": list(self.stems)}
        return {"schema": schema, "topology": topology} | own | {"cells": cells}

    @staticmethod
    def from_json(data: Any) -> Genotype:
        """Reads what `to_json` returned, checking every value.

        Raises:
            ValueError: naming the place, what was expected there and what came.
        """
        schema = entry(data, "schema", int, "genotype")
        if not 1 <= schema <= SCHEMA:
            raise ValueError(
                f"genotype.schema is {schema}, but this version reads schemas 1 to {SCHEMA} only."
            )
        raw = {"partial_channels": 1, "reduce_in": "operations"} | entry(data, "topology", dict, "genotype")
        numbers = ("initial_channels", "cells", "nodes", "partial_channels")
        shape = {k: entry(raw, k, int, "genotype.topology") for k in numbers}
        for key, value in shape.items():
            if not 0 < value <= 4096:
                raise ValueError(f"genotype.topology.{key}={value} must be between 1 and 4096.")
        names = entry(raw, "operations", list, "genotype.topology")
        named = {k: entry(raw, k, str, "genotype.topology") for k in ("stem", "reduce_in")}
        if not all(isinstance(name, str) for name in names):
            raise ValueError("genotype.topology.operations must be a list of names.")
        topology = Topology(**shape, **named, operations=tuple(names))
        cells = entry(data, "cells", list, "genotype")
        widths = entry(data, "narrowed", bool, "genotype") if schema == SCHEMA else schema > 1
        genes = (cell_from_json(c, f"genotype.cells[{i}]", widths=widths) for i, c in enumerate(cells))
        stems = entry(data, "stem_channels", list, "genotype") if schema > 2 else []
        if schema == 3 or stems:
            check_stems(stems, topology)
        return Genotype(topology, tuple(genes), tuple(stems))

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
