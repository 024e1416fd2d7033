"""Builds the derived network: only what survived, with its values, in stock Keras layers (paper §3.4)."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from hmnas_tf.derivation.assemble import assemble
from hmnas_tf.layers import stock
from hmnas_tf.networks.supernet import Supernet
from hmnas_tf.space.genotype import Genotype
from hmnas_tf.space.topology import Edge, cell_edges, edges_from


def derive(supernet: Supernet, genotype: Genotype, image_shape: tuple[int, int, int]) -> keras.Model:
    """Returns the network that a genotype leaves of a supernet, with the supernet's values.

    No masked operation, edge, dead node or unused cell exists in it, nor the input channels that dead nodes fed. In
    inference mode it computes what the masked supernet computes. Its batch normalizations are affine. The last one of
    an operation starts from the operation's and its edge's importance as its scale, so that fine-tuning can go on from
    there, all others from scale 1 (§3.4, DECISION). Masked weights are exact zeros.

    Args:
        supernet: built.
        genotype: of the same topology.
        image_shape: height, width, channels.

    Returns:
        A functional model from `image` [batch, height, width, channels] to `logits` [batch, classes].

    Raises:
        ValueError: if the genotype's topology or widths are not the supernet's.
    """
    if genotype.topology != supernet.topology:
        raise ValueError(f"genotype is for {genotype.topology}, but the supernet has {supernet.topology}.")
    parts = Inherited(supernet)
    of_cells = [(f"in cell {i}", genotype.channels(i), parts.channels(i)) for i in range(len(genotype.cells))]
    of_stems = [(f"of stem {p}", n, parts.stem_channels(p)) for p, n in enumerate(genotype.stem_channels)]
    for place, channels, kept in of_cells + of_stems:
        if channels != len(kept):
            raise ValueError(
                f"genotype has {channels} channels {place}, but the supernet's masks leave {len(kept)}."
            )
    return assemble(genotype, image_shape, parts, "derived")


class Inherited:
    """The layers of a supernet, expressed in stock layers with their values; the `Parts` of the derived network."""

    def __init__(self, supernet: Supernet):
        self.supernet = supernet
        self.widths = supernet.widths()

    def channels(self, index: int) -> np.ndarray:
        """Returns which channels of a cell exist."""
        kept = self.widths[index]
        return np.arange(self.supernet.cells[index].channels) if kept is None else kept

    def stem_channels(self, position: int) -> np.ndarray:
        """Returns which channels of a stem exist."""
        kept = self.widths[len(self.supernet.cells) + position]
        return np.arange(self.supernet.stems[position].filters[-1]) if kept is None else kept

    def stem(self, position: int, x: Any, name: str, kept: np.ndarray | None) -> Any:
        """Applies a stem, `kept` of the channels of whose input exist."""
        return self.supernet.stems[position].stock(
            x, name, inputs=kept, channels=self.stem_channels(position)
        )

    def preprocess(self, index: int, source: int, x: Any, name: str, kept: np.ndarray | None) -> Any:
        """Applies the preprocessing of a cell's input, `kept` of whose channels exist."""
        preprocess = self.supernet.cells[index].preprocess[source]
        return preprocess.stock(x, name, inputs=kept, channels=self.widths[index])

    def operation(self, index: int, edge: Edge, operation: str, x: Any, name: str, weight: float) -> Any:
        """Applies `weight` times an operation of an edge."""
        cell = self.supernet.cells[index]
        parallel = edges_from(cell.nodes)[edge.source].index(cell_edges(cell.nodes).index(edge))
        candidate = cell.mixed[edge.source].candidates[cell.operations.index(operation)]
        kept = self.widths[index]
        return candidate.stock(x, name, parallel, weight, *([] if kept is None else [kept]))

    def classifier(self, x: Any, name: str, kept: np.ndarray | None) -> Any:
        """Applies the classifier to pooled features, `kept` of which exist."""
        return stock.dense(x, self.supernet.classifier, name, inputs=kept)
