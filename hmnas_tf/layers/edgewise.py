"""How the edges that leave a node are computed: one function of tensors, called for each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import keras
from keras import ops, tree

from hmnas_tf.layers import fused
from hmnas_tf.layers.batch_norm import BatchNorm, move_averages
from hmnas_tf.layers.source import Form, Source


class Edgewise(Protocol):
    """A layer that does the same on each of its edges, with values that differ."""

    name: str
    edges: int
    reads: tuple[Form, ...]

    @property
    def apart(self) -> int:
        """Rate at which the images of its result are taken apart, see `fused.apart`; 1 is not at all."""

    @property
    def batch_norms(self) -> list[BatchNorm]:
        """All of them, in the order in which `term` uses them."""

    def values(self, weights: Any, training: bool | None) -> dict[str, Any]:
        """Returns what differs from edge to edge, nested; each tensor is stacked over the edges, [edges, ...].

        Args:
            weights: mixing weights [edges], or None for ones.
            training: as in `call`.
        """

    def term(self, forms: dict[Form, Any], values: dict[str, Any], training: bool) -> tuple[Any, list]:
        """Returns the result of one edge, and in training mean and variance of each batch normalization in turn.

        It reads no variable and depends on the layer's settings only, so that layers made alike can share it.
        """


Term = Callable[[dict[Form, Any], dict[str, dict], bool], tuple[Any, Any]]


def sum_of(layers: Sequence[Edgewise], recompute: bool = False) -> Term:
    """Returns the function that computes one edge: the sum of what layers make of it, and all their statistics.

    In a graph it is built once for each shape and then called, which is several times faster than building it again
    for every edge.

    Args:
        layers: of one edge or several.
        recompute: keep nothing inside for the way back, but compute it again.
    """

    def term(forms: dict[Form, Any], values: dict[str, dict], training: bool) -> tuple[Any, Any]:
        found = [layer.term(forms, values[layer.name], training) for layer in layers]
        statistics = [own for _, own in found]
        results: dict[int, list] = {}
        for layer, (y, _) in zip(layers, found, strict=True):
            results.setdefault(layer.apart, []).append(y)
        sums = [fused.together(fused.add(terms), rate) for rate, terms in results.items()]
        every = [value for of_layer in statistics for value in of_layer]
        return fused.add(sums), ops.stack(every) if training else None

    return fused.built_once(_recomputed(term) if recompute else term)


def _recomputed(term: Term) -> Term:
    def again(forms: dict[Form, Any], values: dict[str, dict], training: bool) -> tuple[Any, Any]:
        if not training:
            return term(forms, values, training)
        arguments = (forms, values)
        call = keras.remat(lambda *flat: term(*tree.pack_sequence_as(arguments, flat), training))
        return call(*tree.flatten(arguments))  # it knows tensors only

    return again


def each_edge(
    layers: Sequence[Edgewise],
    source: Source,
    weights: Sequence[Any],
    training: bool | None,
    term: Term | None = None,
) -> list:
    """Returns the sum of what layers make of each edge, and lets their batch normalizations note the statistics.

    Args:
        layers: of the same number of edges and the same shape of results.
        source: the node that the edges leave.
        weights: mixing weights [edges] for each layer, or None for ones.
        training: as in `call`.
        term: `sum_of(layers)`, or that of layers made alike; None is a new one.
    """
    term = term or sum_of(layers)
    forms = {form: source.form(form) for layer in layers for form in layer.reads}
    values = {layer.name: layer.values(own, training) for layer, own in zip(layers, weights, strict=True)}
    columns = [ops.unstack(value, layers[0].edges) for value in tree.flatten(values)]
    rows = [tree.pack_sequence_as(values, row) for row in zip(*columns, strict=True)]
    results, statistics = zip(*(term(forms, row, bool(training)) for row in rows), strict=True)
    if training:
        norms = [norm for layer in layers for norm in layer.batch_norms]
        move_averages(norms, ops.stack(statistics, axis=1), like=results[0])
    return list(results)
