"""Cells of every kind; nothing here loads TensorFlow."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from hmnas_tf.settings.paper import PAPER_OPERATIONS
from hmnas_tf.space.genotype import CellGene, EdgeGene, Genotype, OperationGene
from hmnas_tf.space.topology import INPUTS, Topology


@pytest.fixture(scope="session")
def make_topology() -> Callable[..., Topology]:
    """Returns a topology, by default the paper's cell."""

    def make(nodes: int = 4, operations: tuple[str, ...] = PAPER_OPERATIONS, cells: int = 3) -> Topology:
        return Topology(initial_channels=16, cells=cells, nodes=nodes, operations=operations)

    return make


@pytest.fixture(scope="session")
def make_cell() -> Callable[..., CellGene]:
    """Returns a random cell, of which a share of the edges and of the operations survives."""

    def make(
        topology: Topology,
        edges: float = 1.0,
        operations: float = 1.0,
        dead: int | None = None,
        seed: int = 0,
    ) -> CellGene:
        random = np.random.default_rng(seed)
        nodes: list[tuple[EdgeGene, ...]] = []
        for target in range(INPUTS, INPUTS + topology.nodes):
            sources = [] if target == dead else [s for s in range(target) if s != dead]
            kept = [s for s in sources if random.random() < edges] or sources[:1]
            genes = []
            for source in kept:
                names = [n for n in topology.operations if random.random() < operations] or ["identity"]
                alphas = random.dirichlet(np.ones(len(names)))
                genes.append(
                    EdgeGene(
                        source,
                        float(random.uniform(0.01, 1.0)),
                        tuple(
                            OperationGene(name, float(alpha), 0.25 if "conv" in name else 1.0)
                            for name, alpha in zip(names, alphas, strict=True)
                        ),
                    )
                )
            nodes.append(tuple(genes))
        return CellGene(tuple(nodes))

    return make


@pytest.fixture(scope="session")
def genotype(make_topology) -> Genotype:
    """Two nodes: in normal cells every edge survives, in reduction cells one, so that the second node is dead."""
    topology = make_topology(nodes=2, operations=("sep_conv_3x3", "identity"), cells=4)

    def edge(source: int, beta: float, *names: str) -> EdgeGene:
        return EdgeGene(source, beta, tuple(OperationGene(name, 0.5) for name in names))

    both = topology.operations
    normal = CellGene(
        ((edge(0, 0.25, *both), edge(1, 0.75, "identity")), tuple(edge(s, 0.25 * s, *both) for s in range(3)))
    )
    reduction = CellGene(((edge(1, 0.5, "identity"),), ()))
    return Genotype(topology, tuple(reduction if plan.reduction else normal for plan in topology.plans))
