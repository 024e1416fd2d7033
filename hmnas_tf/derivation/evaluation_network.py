"""DARTS' evaluation network: a genotype at any scale with fresh weights (arXiv:1806.09055, §3.1.2, Appendix A)."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np

from hmnas_tf.derivation.assemble import assemble
from hmnas_tf.layers import stock
from hmnas_tf.layers.cell import preprocessing
from hmnas_tf.layers.operations import OPERATIONS, Pool
from hmnas_tf.networks.supernet import make_stems
from hmnas_tf.settings.paper import MASK_THRESHOLD
from hmnas_tf.space.genotype import Genotype
from hmnas_tf.space.topology import Edge


def evaluation_network(
    genotype: Genotype,
    num_classes: int,
    image_shape: tuple[int, int, int],
) -> keras.Model:
    """Returns the network of a genotype with fresh weights, to be trained from the beginning.

    The same wiring as the derived network, its importances included; only the values are new. Weights are drawn from
    Keras' global generator, see `keras.utils.set_random_seed`. Where importances were learned a batch normalization
    follows each pool, as in the supernet they were learned in; DARTS leaves it out when it evaluates.

    Args:
        genotype: of any size; `Genotype.resized` gives it more cells or channels.
        num_classes: outputs.
        image_shape: height, width, channels.

    Returns:
        A functional model of stock layers from `image` [batch, height, width, channels] to `logits` [batch, classes].
    """
    return assemble(genotype, image_shape, Fresh(genotype, num_classes), "evaluation")


@dataclasses.dataclass(frozen=True)
class Fresh:
    """Layers with new values, affine batch normalizations everywhere: the `Parts` of an evaluation network."""

    genotype: Genotype
    num_classes: int

    def stem_channels(self, position: int) -> np.ndarray:
        """Returns the first channels of a stem, as many as it has."""
        return np.arange(self.genotype.stem_channels[position])

    def stem(self, position: int, x: Any, name: str, kept: np.ndarray | None) -> Any:
        """Applies a stem to the channels that exist."""
        stem = make_stems(self.genotype.topology, MASK_THRESHOLD, self.genotype.stems)[position]
        stem.build(x.shape)
        return stem.stock(x, name)

    def channels(self, index: int) -> np.ndarray:
        """Returns the first channels of a cell, as many as it has: with fresh weights all are alike."""
        return np.arange(self.genotype.channels(index))

    def preprocess(self, index: int, source: int, x: Any, name: str, kept: np.ndarray | None) -> Any:
        """Applies the preprocessing of a cell's input to the channels that exist."""
        plan = self.genotype.topology.plans[index]
        layer = preprocessing(plan, source)(self.genotype.channels(index), affine=True)
        layer.build(x.shape)
        return layer.stock(x, name)

    def operation(self, index: int, edge: Edge, operation: str, x: Any, name: str, weight: float) -> Any:
        """Applies `weight` times an operation of an edge."""
        plan = self.genotype.topology.plans[index]
        layer = OPERATIONS[operation](x.shape[-1], strides=plan.strides(edge.source), affine=True)
        layer.build(x.shape)
        if isinstance(layer, Pool) and not self.genotype.weighted:
            return layer.stock_pool(x, name)
        return layer.stock(x, name, 0, weight)

    def classifier(self, x: Any, name: str, kept: np.ndarray | None) -> Any:
        """Applies the classifier to the pooled features that exist."""
        layer = keras.layers.Dense(self.num_classes)
        layer.build(x.shape)
        return stock.dense(x, layer, name)


def with_classifier(network: keras.Model, num_classes: int) -> keras.Model:
    """Returns a network for other classes: everything but a fresh classifier is shared with the given one (§4.3)."""
    logits = keras.layers.Dense(num_classes, dtype="float32", name="logits")(network.get_layer("pool").output)
    return keras.Model(network.input, logits, name=network.name)
