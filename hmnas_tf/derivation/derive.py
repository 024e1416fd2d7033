"""Builds the derived network: only what survived, with its values, in stock Keras layers (paper §3.4)."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from hmnas_tf.layers import stock
from hmnas_tf.layers.cell import Cell
from hmnas_tf.networks.supernet import Supernet
from hmnas_tf.space.genotype import CellGene, Genotype
from hmnas_tf.space.topology import INPUTS, Edge, cell_edges, edges_from

INPUT_NAME = "image"


def derive(supernet: Supernet, genotype: Genotype, image_shape: tuple[int, int, int]) -> keras.Model:
    """Returns the network that a genotype leaves of a supernet, with the supernet's values.

    No masked operation, edge, dead node or unused cell exists in it, nor the input channels that dead nodes fed. In
    inference mode it computes what the masked supernet computes. Its batch normalizations are affine, so that
    fine-tuning can scale them, and start from scale 1 and offset 0 (§3.4, DECISION). Masked weights are exact zeros.

    Args:
        supernet: built.
        genotype: of the same topology.
        image_shape: height, width, channels.

    Returns:
        A functional model from `image` [batch, height, width, channels] to `logits` [batch, classes].

    Raises:
        ValueError: if the genotype's topology is not the supernet's.
    """
    if genotype.topology != supernet.topology:
        raise ValueError(f"genotype is for {genotype.topology}, but the supernet has {supernet.topology}.")
    image = keras.Input(image_shape, name=INPUT_NAME)
    first = second = supernet.stems[0].stock(image, "stem")
    if len(supernet.stems) > 1:
        second = supernet.stems[1].stock(first, "stem_second")
    outputs: dict[int, tuple[Any, Any]] = {-2: (first, None), -1: (second, None)}
    for index in genotype.needed_cells():
        outputs[index] = _cell(supernet.cells[index], genotype.cells[index], index, outputs)
    features, kept = outputs[supernet.topology.cells - 1]
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(features)
    logits = stock.dense(pooled, supernet.classifier, "logits", inputs=kept)
    return keras.Model(image, logits, name="derived")


def _cell(cell: Cell, gene: CellGene, index: int, outputs: dict[int, tuple[Any, Any]]) -> tuple[Any, Any]:
    """Returns a cell's output and which of its channels exist, None for all."""
    name = f"cell{index}"
    nodes: dict[int, Any] = {}
    for source in range(INPUTS):
        if gene.uses(source):
            x, kept = outputs[index - INPUTS + source]
            nodes[source] = cell.preprocess[source].stock(x, f"{name}_preprocess{source}", inputs=kept)
    for position in gene.living_nodes():
        target = INPUTS + position
        terms = [
            term
            for edge in gene.nodes[position]
            for term in _edge(cell, Edge(edge.source, target), edge, nodes[edge.source], name)
        ]
        nodes[target] = keras.layers.Add(name=f"{name}_node{target}")(terms) if len(terms) > 1 else terms[0]
    living = [nodes[INPUTS + position] for position in gene.living_nodes()]
    output = keras.layers.Concatenate(name=f"{name}_concat")(living) if len(living) > 1 else living[0]
    if len(living) == cell.nodes:
        return output, None
    channels = np.arange(cell.channels)
    return output, np.concatenate([position * cell.channels + channels for position in gene.living_nodes()])


def _edge(cell: Cell, edge: Edge, gene: Any, x: Any, name: str) -> list[Any]:
    """Returns the weighted operations of an edge (Eqs. 1 and 2)."""
    parallel = edges_from(cell.nodes)[edge.source].index(cell_edges(cell.nodes).index(edge))
    candidates = cell.mixed[edge.source].candidates
    terms = []
    for operation in gene.operations:
        place = f"{name}_edge{edge.source}_{edge.target}_{operation.name}"
        term = candidates[cell.operations.index(operation.name)].stock(x, place, parallel)
        weight = operation.alpha * gene.beta
        terms.append(term if weight == 1.0 else keras.layers.Rescaling(weight, name=f"{place}_weight")(term))
    return terms
