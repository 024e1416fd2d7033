"""How the edges that leave a node are computed: one function of tensors, called for each of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import keras
import numpy as np
from keras import ops, tree

from hmnas_tf.layers import flat, fused
from hmnas_tf.layers.activity import ACTIVE, GONE, RESTING, Activity, rested
from hmnas_tf.layers.batch_norm import BatchNorm, Statistics, factor_of
from hmnas_tf.layers.learning import WEIGHTS, is_fixed
from hmnas_tf.layers.masked_kernel import MaskedKernel, masked_rows
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
    def kernels(self) -> list[MaskedKernel]:
        """All of its convolutions."""

    @property
    def batch_norms(self) -> list[BatchNorm]:
        """All of them, in the order in which `term` uses them."""

    def term(self, forms: dict[Form, Any], values: Values, weight: Any, training: bool) -> tuple[Any, list]:
        """Returns the result of one edge, and in training mean and variance of each of `batch_norms` in turn.

        It reads no variable and depends on the layer's settings only, so that layers made alike can share it, and all
        stages. So kernels meet their masks before.

        Args:
            forms: of the source.
            values: of this edge: the masked kernel of each of `kernels`, of each of `batch_norms` what its
                `normalize` needs, and behind `WIDTH` which channels of a tensor inside take part, None for all.
            weight: mixing weight of this edge, a number or one for each channel; None for 1.
            training: as in `call`.
        """


WIDTH = "width"  # of what all edges have in common: the binary width mask of their cell
Values = dict[Any, Any]  # of layers by themselves
Row = dict[str, Any]  # of one edge: kernels and others of all layers side by side, each [scalars]
Term = Callable[[dict[Form, Any], Row, bool], tuple[Any, Any]]


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
        self.kernels = [kernel for layer in layers for kernel in layer.kernels]
        self.batch_norms = [norm for layer in layers for norm in layer.batch_norms]
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

    def rows(self, weights: Any, training: bool | None) -> Row:
        """Returns what differs from edge to edge, each [edges, scalars]; `weights` as in `each_edge`."""
        found = {}
        if values := self._values_of_norms(training):
            found["norm"] = flat.rows([value for *_, value in values])
        if self.kernels:
            found["kernel"] = masked_rows(self.kernels)
        return found if weights is None else found | {"weights": weights}

    def _values(self, row: Row, training: bool) -> Values:
        """Returns what `Edgewise.term` needs of the edge that has a row."""
        values: Values = {norm: {} for norm in self.batch_norms}
        if of_norms := self._values_of_norms(training):
            pieces = flat.from_row(row["norm"], [value for *_, value in of_norms])
            for (norm, name, _), piece in zip(of_norms, pieces, strict=True):
                values[norm][name] = piece
        if self.kernels:
            pieces = flat.from_row(row["kernel"], [kernel.kernel for kernel in self.kernels])
            values |= dict(zip(self.kernels, pieces, strict=True))
        return values | {WIDTH: row.get(WIDTH)}

    def _values_of_norms(self, training: bool | None) -> list[tuple[BatchNorm, str, Any]]:
        return [(norm, *item) for norm in self.batch_norms for item in norm.values(training).items()]

    def _term(
        self, states: tuple[int, ...], fixed: bool, forms: dict[Form, Any], row: Row, training: bool
    ) -> tuple[Any, Any]:
        if is_fixed(WEIGHTS):
            row = {name: x if name in ("weights", WIDTH) else rested(x) for name, x in row.items()}
        if fixed:
            forms = rested(forms)
        values, results = self._values(row, training), {}
        weights = ops.unstack(row["weights"], len(self.layers)) if "weights" in row else [None] * len(states)
        statistics: list = []  # mean and variance of each batch normalization in turn
        for layer, state, weight in zip(self.layers, states, weights, strict=True):
            if state == GONE:
                statistics += [ops.zeros(2 * norm.moving_mean.shape[-1]) for norm in layer.batch_norms]
                continue
            own = {part: values[part] for part in (*layer.kernels, *layer.batch_norms, WIDTH)}
            y, found = layer.term(
                rested(forms) if state == RESTING else forms,
                {k: v if v is None else rested(v) for k, v in own.items()} if state == RESTING else own,
                factor_of(weight, values[WIDTH]),
                training,
            )
            results.setdefault(layer.apart, []).append(y)
            statistics += found
        sums = [fused.together(fused.add(terms), rate) for rate, terms in results.items()]
        return fused.add(sums), ops.concatenate(statistics) if statistics else None


def _recomputed(term: Term) -> Term:
    def again(forms: dict[Form, Any], row: Row, training: bool) -> tuple[Any, Any]:
        if not training:
            return term(forms, row, training)
        arguments = (forms, row)
        call = keras.remat(lambda *leaves: term(*tree.pack_sequence_as(arguments, leaves), training))
        return call(*tree.flatten(arguments))  # it knows tensors only

    return again


def each_edge(
    edge_sum: EdgeSum,
    source: Source,
    weights: Any,
    training: bool | None,
    activities: Sequence[Activity] | None = None,
) -> list:
    """Returns the sum of what layers make of each edge, and notes in the source what batch normalizations find.

    Args:
        edge_sum: of the layers.
        source: the node that the edges leave.
        weights: mixing weights [edges, layers], or None for ones.
        training: as in `call`.
        activities: of each layer; None is all active.

    Returns:
        One tensor an edge, None where all layers are gone.
    """
    layers, edges = edge_sum.layers, edge_sum.layers[0].edges
    activities = activities or [(ACTIVE,) * edges] * len(layers)
    if max(map(max, activities)) == GONE:
        return [None] * edges
    reading = [layer for layer, own in zip(layers, activities, strict=True) if max(own) > GONE]
    forms = {form: source.form(form) for layer in reading for form in layer.reads}
    columns = {name: ops.unstack(x, edges) for name, x in edge_sum.rows(weights, training).items()}
    common = {} if source.width is None else {WIDTH: source.width}
    results: list = [None] * edges
    statistics: list = [None] * edges
    for edge, states in enumerate(zip(*activities, strict=True)):
        if max(states) > GONE:
            row = {name: column[edge] for name, column in columns.items()} | common
            results[edge], statistics[edge] = edge_sum.term(states, source.fixed)(forms, row, bool(training))
    if training and edge_sum.batch_norms:
        source.note(
            [_statistics(edge_sum, activities, statistics, next(y for y in results if y is not None))]
        )
    return results


def _statistics(edge_sum: EdgeSum, activities: Sequence[Activity], found: list, like: Any) -> Statistics:
    """Returns the statistics of all edges, so that the averages of what is gone stay."""
    repeats = [len(layer.batch_norms) for layer in edge_sum.layers]
    moves = np.repeat(np.array(activities).T > GONE, repeats, axis=1)  # [edges, batch normalizations]
    nothing = ops.zeros_like(next(own for own in found if own is not None))
    rows = ops.stack([nothing if own is None else own for own in found])
    return Statistics(edge_sum.batch_norms, rows, like, moves)
