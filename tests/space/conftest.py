"""Small topologies and genotypes; nothing here loads TensorFlow."""

from __future__ import annotations

import pytest

from hmnas_tf.space.genotype import CellGene, EdgeGene, Genotype, OperationGene
from hmnas_tf.space.topology import Topology


def gene(source: int, *names: str, beta: float = 0.5) -> EdgeGene:
    """An edge from `source` with operations of importance 0.25."""
    return EdgeGene(source, beta, tuple(OperationGene(name, 0.25, 0.75) for name in names))


@pytest.fixture(scope="session")
def topology() -> Topology:
    return Topology(initial_channels=4, cells=4, nodes=3, operations=("a", "b", "c"))


@pytest.fixture(scope="session")
def genotype(topology) -> Genotype:
    """Cell 2 is read by nobody: cell 3 reads cell 1 alone. Node 3 of cell 1 is dead."""
    full = CellGene(((gene(0, "a"), gene(1, "b")), (gene(2, "a", "c"),), (gene(3, "b"), gene(0, "c"))))
    hole = CellGene(((gene(0, "a"), gene(1, "b", beta=0.125)), (), (gene(2, "b"),)))
    first = CellGene(((gene(0, "c", "a"),), (), ()))
    return Genotype(topology, (full, hole, full, first))
