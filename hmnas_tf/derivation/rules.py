"""Rules that choose the surviving architecture of a trained supernet (paper §3.3; DARTS, arXiv:1806.09055, §2.4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np

from hmnas_tf.networks.supernet import Supernet
from hmnas_tf.space.genotype import CellGene, EdgeGene, Genotype, OperationGene
from hmnas_tf.space.topology import Topology, cell_edges, edges_from, edges_into

KEPT_EDGES = 2  # DARTS' hand rule: so many inputs a node, each with one operation


def genotype_of(supernet: Supernet, rule: str, seed: int = 0) -> Genotype:
    """Returns the architecture that a rule leaves of a supernet, which it reads and never changes.

    Args:
        supernet: built.
        rule: name in `RULES`.
        seed: of rules that draw.
    """
    return RULES[rule](supernet, seed)


def by_masks(supernet: Supernet, seed: int = 0) -> Genotype:
    """Keeps every operation and edge whose learned mask is 1 and that something reaches (§3.3)."""
    cells = tuple(masked_cell(supernet, index) for index in range(supernet.topology.cells))
    stems = supernet.widths()[len(cells) :]
    return Genotype(supernet.topology, cells, tuple(len(kept) for kept in stems if kept is not None))


def masked_cell(supernet: Supernet, index: int) -> CellGene:
    """Returns what the masks leave of one cell, see `by_masks`."""
    encoding = supernet.encodings[supernet.groups[index]]
    gates, alpha, beta = (keras.ops.convert_to_numpy(values) for values in encoding.surviving_importances())
    nodes = []
    for part in edges_into(supernet.topology.nodes):
        edges = []
        for row in range(part.start, part.stop):
            genes = tuple(
                OperationGene(name, float(alpha[row, o]), weight_density(supernet, index, row, o))
                for o, name in enumerate(supernet.topology.operations)
                if gates[row, o] > 0
            )
            if genes:
                edges.append(EdgeGene(row - part.start, float(beta[row]), genes))
        nodes.append(tuple(edges))
    kept = supernet.widths()[index]
    return CellGene(tuple(nodes), 0 if kept is None else len(kept))


def weight_density(supernet: Supernet, cell: int, row: int, operation: int) -> float:
    """Returns the share of an operation's convolution weights whose mask is 1; 1.0 if it has none.

    Args:
        supernet: built.
        cell: its index.
        row: of the edge, in `cell_edges`.
        operation: column of alpha.
    """
    source = cell_edges(supernet.topology.nodes)[row].source
    edge = edges_from(supernet.topology.nodes)[source].index(row)
    candidate = supernet.cells[cell].mixed[source].candidates[operation]
    masks = candidate.binary_masks(edge)
    size = sum(mask.size for mask in masks)
    return sum(int(mask.sum()) for mask in masks) / size if size else 1.0


def by_hand(supernet: Supernet, seed: int = 0) -> Genotype:
    """DARTS' hand rule: the two strongest edges into each node, the strongest operation on each, all of weight 1.

    An edge is as strong as its best operation, softmax(alpha) * softmax(beta); without edge encoding beta is uniform.
    The lower index wins ties; `none` is never chosen.
    """
    choosable = np.array([name != "none" for name in supernet.topology.operations])

    def choose(group: int) -> CellGene:
        alpha, beta = (keras.ops.convert_to_numpy(v) for v in supernet.encodings[group].importances())
        # Rounded, because a softmax of equal values differs in its last bit from place to place.
        strength = np.where(choosable, np.round(alpha * beta[:, None], 6), -1.0)
        return _one_operation_cell(
            supernet.topology,
            lambda part: np.argsort(-strength[part].max(axis=1), kind="stable")[:KEPT_EDGES],
            lambda row: int(strength[row].argmax()),
        )

    return _of_groups(supernet.topology, supernet.groups, choose)


def at_random(supernet: Supernet, seed: int = 0) -> Genotype:
    """A random architecture from the supernet's space, see `random_genotype`."""
    return random_genotype(supernet.topology, supernet.groups, seed)


def random_genotype(topology: Topology, groups: Sequence[int], seed: int) -> Genotype:
    """Returns two random edges into each node with one random operation each, all of weight 1 (Table 6).

    Args:
        topology: the space.
        groups: number of each cell's group; cells of a group are alike, see `sharing_groups`.
        seed: of the draw.
    """
    random = np.random.default_rng(seed)
    choosable = [o for o, name in enumerate(topology.operations) if name != "none"]

    def choose(group: int) -> CellGene:
        return _one_operation_cell(
            topology,
            lambda part: random.choice(part.stop - part.start, KEPT_EDGES, replace=False),
            lambda row: int(random.choice(choosable)),
        )

    return _of_groups(topology, groups, choose)


def _of_groups(topology: Topology, groups: Sequence[int], choose: Callable[[int], CellGene]) -> Genotype:
    genes = [choose(group) for group in range(max(groups) + 1)]
    return Genotype(topology, tuple(genes[group] for group in groups))


def _one_operation_cell(
    topology: Topology, sources: Callable[[slice], np.ndarray], operation: Callable[[int], int]
) -> CellGene:
    nodes = []
    for part in edges_into(topology.nodes):
        kept = sorted(int(source) for source in sources(part))
        names = [topology.operations[operation(part.start + source)] for source in kept]
        nodes.append(
            tuple(EdgeGene(s, 1.0, (OperationGene(name, 1.0),)) for s, name in zip(kept, names, strict=True))
        )
    return CellGene(tuple(nodes))


RULES = {
    "masks": by_masks,
    "random": at_random,
    "top2": by_hand,
}
READ_MASKS = {"masks"}  # rules that masks are searched for; the others go without mask search


def kept_by_masks(budgets: Mapping[str, float], rule: str) -> Mapping[str, float]:
    """Returns the budgets that masks of channels have to keep: all, or none with a rule that reads no masks."""
    return budgets if rule in READ_MASKS else {}
