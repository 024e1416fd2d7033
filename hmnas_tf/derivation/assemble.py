"""The wiring of a network from its genotype, whatever the layers are and wherever their values come from."""

from __future__ import annotations

import functools
from typing import Any, Protocol

import keras
import numpy as np

from hmnas_tf.layers import partial, stock
from hmnas_tf.space.genotype import EdgeGene, Genotype
from hmnas_tf.space.topology import INPUTS, Edge

INPUT_NAME = "image"
STEM_NAMES = ("stem", "stem_second")


class Parts(Protocol):
    """What a network is assembled from; every method applies stock layers whose names start with `name` to `x`.

    `kept` are the positions of the channels that exist of what once were all; None is all.
    """

    def stem(self, position: int, x: Any, name: str, kept: np.ndarray | None) -> Any:
        """Applies the first or the second stem."""

    def stem_channels(self, position: int) -> np.ndarray:
        """Returns which of the channels that the topology has exist in what a stem puts out, in order."""

    def preprocess(self, index: int, source: int, x: Any, name: str, kept: np.ndarray | None) -> Any:
        """Applies the preprocessing of an input of cell `index`."""

    def operation(self, index: int, edge: Edge, operation: str, x: Any, name: str, weight: float) -> Any:
        """Applies `weight` times an operation of an edge of cell `index` to the channels that it reads."""

    def channels(self, index: int) -> np.ndarray:
        """Returns which of the channels of the plan exist in cell `index`, in order."""

    def classifier(self, x: Any, name: str, kept: np.ndarray | None) -> Any:
        """Applies the classifier to pooled features."""


def assemble(genotype: Genotype, image_shape: tuple[int, int, int], parts: Parts, name: str) -> keras.Model:
    """Returns the network of a genotype: nothing is built that the genotype does not have or nothing reads.

    Args:
        genotype: what survived.
        image_shape: height, width, channels.
        parts: its layers.
        name: of the model.

    Returns:
        A functional model of stock layers from `image` [batch, height, width, channels] to `logits` [batch, classes].
    """
    topology = genotype.topology
    image = keras.Input(image_shape, name=INPUT_NAME)
    made = [(image, None)]
    for position, (stem_name, most) in enumerate(zip(STEM_NAMES, topology.stem_channels, strict=False)):
        kept = parts.stem_channels(position)
        y = parts.stem(position, made[-1][0], stem_name, made[-1][1])
        made.append((y, None if len(kept) == most else kept))
    outputs: dict[int, tuple[Any, Any]] = {-2: made[1], -1: made[-1]}
    for index in genotype.needed_cells():
        outputs[index] = _cell(genotype, index, outputs, parts)
    features, kept = outputs[topology.cells - 1]
    pooled = keras.layers.GlobalAveragePooling2D(data_format="channels_last", name="pool")(features)
    return keras.Model(image, parts.classifier(pooled, "logits", kept), name=name)


def _cell(
    genotype: Genotype, index: int, outputs: dict[int, tuple[Any, Any]], parts: Parts
) -> tuple[Any, Any]:
    """Returns a cell's output and which of its channels exist, None for all."""
    gene, plan, name = genotype.cells[index], genotype.topology.plans[index], f"cell{index}"
    nodes: dict[int, Any] = {}
    for source in range(INPUTS):
        if gene.uses(source):
            x, kept = outputs[index - INPUTS + source]
            nodes[source] = parts.preprocess(index, source, x, f"{name}_preprocess{source}", kept)

    @functools.cache
    def split(source: int) -> tuple[Any, Any]:
        partial_channels, place = genotype.topology.partial_channels, f"{name}_node{source}"
        return partial.stock_split(nodes[source], partial_channels, plan.strides(source), place)

    for position in gene.living_nodes():
        target, made, passing = INPUTS + position, [], []
        for edge_gene in gene.nodes[position]:
            edge = Edge(edge_gene.source, target)
            x, others = split(edge.source)
            made += _edge(index, edge, edge_gene, x, parts)
            if others is not None:
                passing.append(stock.weighted(others, edge_gene.beta, term_name(index, edge, "passing")))
        nodes[target] = partial.stock_node(made, passing, f"{name}_node{target}")
    living = [nodes[INPUTS + position] for position in gene.living_nodes()]
    output = keras.layers.Concatenate(name=f"{name}_concat")(living) if len(living) > 1 else living[0]
    kept = parts.channels(index)
    if len(living) == len(gene.nodes) and len(kept) == plan.channels:
        return output, None
    return output, np.concatenate([position * plan.channels + kept for position in gene.living_nodes()])


def term_name(index: int, edge: Edge, operation: str) -> str:
    """Returns what the names of the layers of an operation of an edge start with."""
    return f"cell{index}_edge{edge.source}_{edge.target}_{operation}"


def _edge(index: int, edge: Edge, gene: EdgeGene, x: Any, parts: Parts) -> list[Any]:
    """Returns the weighted operations of an edge (Eqs. 1 and 2)."""
    return [
        parts.operation(index, edge, op.name, x, term_name(index, edge, op.name), weight=op.alpha * gene.beta)
        for op in gene.operations
    ]
