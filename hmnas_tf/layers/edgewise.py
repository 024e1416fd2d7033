"""How the edges that leave a node are computed: one function of tensors, called for each of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import keras
import numpy as np
from keras import ops, tree

from hmnas_tf.layers import fused
from hmnas_tf.layers.activity import ACTIVE, GONE, RESTING, Activity, rested
from hmnas_tf.layers.batch_norm import BatchNorm, move_averages
from hmnas_tf.layers.learning import WEIGHTS, is_fixed
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

        It reads no variable and depends on the layer's settings only, so that layers made alike can share it, and all
        stages. So kernels meet their masks in `values`, not here.
        """


Term = Callable[[dict[Form, Any], dict[str, dict], bool], tuple[Any, Any]]


class EdgeSum:
    """Computes one edge: the sum of what layers make of it, and all their statistics.

    In a graph that is built once for each shape and then called, which is several times faster than building it again
    for every edge.

    Args:
        layers: whose results are added, all of one number of edges.
        recompute: keep nothing inside for the way back, but compute it again.
    """

    def __init__(self, layers: Sequence[Edgewise], recompute: bool = False):
        self.layers = layers
        self.recompute = recompute
        self._terms: dict[tuple[tuple[int, ...], bool, bool], Term] = {}

    def like(self, other: EdgeSum) -> EdgeSum:
        """Returns the sum of the same layers by the functions of another one, whose layers were made alike."""
        result = EdgeSum(self.layers, self.recompute)
        result._terms = other._terms
        return result

    def term(self, states: tuple[int, ...], fixed: bool = False) -> Term:
        """Returns the function, given the activity of each layer and whether the source is fixed, see `Source`."""
        key = (states, fixed, is_fixed(WEIGHTS))
        if key not in self._terms:
            term = functools.partial(self._term, states, fixed)
            self._terms[key] = fused.built_once(_recomputed(term) if self.recompute else term)
        return self._terms[key]

    def _term(
        self,
        states: tuple[int, ...],
        fixed: bool,
        forms: dict[Form, Any],
        values: dict[str, dict],
        training: bool,
    ) -> tuple[Any, Any]:
        results: dict[int, list] = {}
        statistics = []
        for layer, state in zip(self.layers, states, strict=True):
            if state == GONE:
                continue
            y, found = layer.term(
                rested(forms) if fixed or state == RESTING else forms,
                rested(values[layer.name]) if is_fixed(WEIGHTS) or state == RESTING else values[layer.name],
                training,
            )
            results.setdefault(layer.apart, []).append(y)
            statistics += found
        sums = [fused.together(fused.add(terms), rate) for rate, terms in results.items()]
        return fused.add(sums), ops.stack(statistics) if training else None


def _recomputed(term: Term) -> Term:
    def again(forms: dict[Form, Any], values: dict[str, dict], training: bool) -> tuple[Any, Any]:
        if not training:
            return term(forms, values, training)
        arguments = (forms, values)
        call = keras.remat(lambda *flat: term(*tree.pack_sequence_as(arguments, flat), training))
        return call(*tree.flatten(arguments))  # it knows tensors only

    return again


def each_edge(
    edge_sum: EdgeSum,
    source: Source,
    weights: Sequence[Any],
    training: bool | None,
    activities: Sequence[Activity] | None = None,
) -> list:
    """Returns the sum of what layers make of each edge, and lets their batch normalizations note the statistics.

    Args:
        edge_sum: of the layers.
        source: the node that the edges leave.
        weights: mixing weights [edges] for each layer, or None for ones.
        training: as in `call`.
        activities: of each layer; None is all active.

    Returns:
        One tensor an edge, None where all layers are gone.
    """
    layers, edges = edge_sum.layers, edge_sum.layers[0].edges
    activities = activities or [(ACTIVE,) * edges] * len(layers)
    computed = [
        (layer, own, activity)
        for layer, own, activity in zip(layers, weights, activities, strict=True)
        if max(activity) > GONE
    ]
    forms = {form: source.form(form) for layer, *_ in computed for form in layer.reads}
    values = {layer.name: layer.values(own, training) for layer, own, _ in computed}
    columns = [ops.unstack(value, edges) for value in tree.flatten(values)]  # of each tensor, by edge
    results: list = [None] * edges
    statistics: list = [None] * edges
    for edge, states in enumerate(zip(*activities, strict=True)):
        if max(states) > GONE:
            row = tree.pack_sequence_as(values, [column[edge] for column in columns])
            own = {
                layer.name: row[layer.name]
                for layer, state in zip(layers, states, strict=True)
                if state > GONE
            }
            results[edge], statistics[edge] = edge_sum.term(states, source.fixed)(forms, own, bool(training))
    if training and computed:
        _note(computed, statistics, next(y for y in results if y is not None))
    return results


def _note(computed: list[tuple[Edgewise, Any, Activity]], statistics: list, like: Any) -> None:
    """Moves the averages of what is computed; those of edges that are gone stay."""
    norms = [(norm, activity) for layer, _, activity in computed for norm in layer.batch_norms]
    moves = np.array([[state > GONE for state in activity] for _, activity in norms])
    if moves.all():
        move_averages([norm for norm, _ in norms], ops.stack(statistics, axis=1), like)
        return
    nothing = ops.zeros(like.shape[-1:])
    every = []
    for edge, own in enumerate(statistics):
        there = iter([] if own is None else ops.unstack(own, 2 * int(moves[:, edge].sum())))
        every.append(ops.stack([next(there) if moved else nothing for moved in moves[:, edge].repeat(2)]))
    move_averages([norm for norm, _ in norms], ops.stack(every, axis=1), like, moves)
