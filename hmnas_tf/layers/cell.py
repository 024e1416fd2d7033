"""A cell: a directed acyclic graph of mixed operations (paper §4.1)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from hmnas_tf.layers import fused, partial
from hmnas_tf.layers.factorized_reduce import FactorizedReduce
from hmnas_tf.layers.masked_kernel import halved_shape
from hmnas_tf.layers.mixed_operation import MixedOperation
from hmnas_tf.layers.relu_pointwise_norm import ReluPointwiseNorm
from hmnas_tf.layers.source import Source
from hmnas_tf.settings.paper import MASK_THRESHOLD, PAPER_OPERATIONS
from hmnas_tf.space.topology import INPUTS, CellPlan, cell_edges, edges_from


def preprocessing(plan: CellPlan, source: int) -> Callable[..., ReluPointwiseNorm | FactorizedReduce]:
    """Returns what makes the preprocessing of an input of a cell, given its channels and the layers' other settings."""
    strides = plan.preprocessing_strides(source)
    if strides == 2 and plan.reduce_in != "pooling":
        return FactorizedReduce
    return functools.partial(ReluPointwiseNorm, strides=strides)


@keras.saving.register_keras_serializable(package="hmnas_tf")
class Cell(keras.layers.Layer):
    """Two input nodes, intermediate nodes fed by all nodes before them, and the concatenation of the latter.

    Args:
        channels: C of every node.
        nodes: intermediate nodes; 4 give 14 edges.
        operations: names of the candidate operations.
        reduction: whether the output has half the second input's resolution.
        previous_reduction: whether the first input has twice the second's resolution.
        reduce_in: what of a reduction cell halves it, `operations`, `preprocessing` or `pooling`; see `Topology`.
        partial_channels: K, see `layers/partial.py`; each edge then has one more mixing weight, that of what passes by.
        affine: of all batch normalizations.
        threshold: tau of all weight masks.
        recompute: see `MixedOperation`.

    Inputs: the outputs of cells k-2 and k-1, [batch, height, width, any], and the mixing weights [edges, operations],
        with `partial_channels` [edges, operations + 1]. `fixed` tells which of the first two need no gradient, see
        `Source`; `width` which of the C channels take part, zeros and ones [C], None for all.
    Output: [batch, height', width', nodes * channels].

    Raises:
        ValueError: if the channels cannot be shared out, see `partial_channels`, or what halves is unknown.

    >>> image = keras.Input((8, 8, 3))
    >>> encoding = MultiLevelEncoding(nodes=2, operations=2)
    >>> cell = Cell(4, nodes=2, operations=("sep_conv_3x3", "identity"))
    >>> cell(image, image, encoding.mixing_weights()).shape
    (None, 8, 8, 8)
    """

    def __init__(
        self,
        channels: int,
        *,
        nodes: int = 4,
        operations: tuple[str, ...] = PAPER_OPERATIONS,
        reduction: bool = False,
        previous_reduction: bool = False,
        reduce_in: str = "operations",
        partial_channels: int = 1,
        affine: bool = False,
        threshold: float = MASK_THRESHOLD,
        recompute: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if partial_channels < 1 or channels % partial_channels:
            raise ValueError(
                f"channels={channels} cannot be shared out with partial_channels={partial_channels}: take a multiple."
            )
        self.channels = channels
        self.nodes = nodes
        self.operations = tuple(operations)
        self.reduction = reduction
        self.previous_reduction = previous_reduction
        self.reduce_in = reduce_in
        self.partial_channels = partial_channels
        self.affine = affine
        self.threshold = threshold
        self.recompute = recompute
        settings: dict[str, Any] = dict(affine=affine, threshold=threshold)
        plan = CellPlan(0, channels, reduction, previous_reduction, reduce_in)
        self.preprocess = [
            preprocessing(plan, source)(channels, name=f"preprocess_{source}", **settings)
            for source in range(INPUTS)
        ]
        self.mixed = [  # one for each node that edges leave
            MixedOperation(
                channels // partial_channels,
                edges=len(rows),
                strides=plan.strides(source),
                operations=self.operations,
                recompute=recompute,
                name=f"mixed_{source}",
                **settings,
            )
            for source, rows in enumerate(edges_from(nodes))
        ]
        sums = {mixed.strides: mixed.edge_sum for mixed in self.mixed}
        for mixed in self.mixed:
            mixed.edge_sum = mixed.edge_sum.like(sums[mixed.strides])

    def build(self, first_shape, second_shape, weights_shape=None):
        self.input_shapes = (tuple(first_shape), tuple(second_shape))
        for preprocess, shape in zip(self.preprocess, (first_shape, second_shape), strict=True):
            preprocess.build(shape)
        for mixed in self.mixed:
            mixed.build((*self._node_shape(second_shape, mixed.strides)[:3], mixed.channels))

    def _node_shape(self, second_shape: tuple, edge_strides: int) -> tuple:
        """Returns the shape of a node, from the stride of the edges that leave it."""
        strides = 2 if self.reduction and edge_strides == 1 else 1
        return (*halved_shape(second_shape, strides)[:-1], self.channels)

    def output_shape_for(self, second_shape: tuple) -> tuple:
        """Returns the shape of the result from the shape of the second input."""
        return (*self._node_shape(second_shape, edge_strides=1)[:3], self.nodes * self.channels)

    def call(self, first, second, weights, training=None, fixed=(False, False), width=None):
        own = {} if width is None else {"width": width}
        states = [
            self.preprocess[source](x, training=training, **own)[0] if self._reads(source) else None
            for source, x in enumerate((first, second))
        ]
        weights = ops.unstack(ops.cast(weights, self.compute_dtype), axis=0)
        rows = edges_from(self.nodes)
        incoming: list[list] = [[] for _ in range(self.nodes)]
        passing: list[list] = [[] for _ in range(self.nodes)]
        for source in range(INPUTS + self.nodes):
            if source >= INPUTS:
                # Eq. 2: a node is the sum of its incoming edges, whose importance is in the mixing weights already.
                made = incoming[source - INPUTS]
                states.append(partial.node(made, passing[source - INPUTS]) if made else None)
            if source < len(self.mixed) and states[source] is not None:
                own = ops.stack([weights[row] for row in rows[source]])
                x, others = partial.split(states[source], self.partial_channels, self.mixed[source].strides)
                if others is not None:
                    own, passed = own[:, :-1], fused.combine([others], own[:, -1:])
                    for row, y in zip(rows[source], passed, strict=True):
                        passing[cell_edges(self.nodes)[row].target - INPUTS].append(y)
                own_fixed = source < INPUTS and fixed[source]
                with Source(x, own_fixed, width) as node:
                    terms = self.mixed[source].terms(node, own, training)
                for row, summands in zip(rows[source], terms, strict=True):
                    incoming[cell_edges(self.nodes)[row].target - INPUTS] += summands
        nodes = states[INPUTS:]
        living = next(node for node in nodes if node is not None)
        return ops.concatenate([ops.zeros_like(living) if n is None else n for n in nodes], axis=-1)

    def _reads(self, source: int) -> bool:
        """Returns whether anything of a source is computed; what passes operations by always is."""
        return self.partial_channels > 1 or self.mixed[source].computes

    def set_activity(self, table: Any) -> None:
        """Chooses what graphs that are built from now on compute; see `MixedOperation.set_activity`.

        Args:
            table: [edges, operations], or None for everything.
        """
        for mixed, rows in zip(self.mixed, edges_from(self.nodes), strict=True):
            mixed.set_activity(None if table is None else table[list(rows)])

    def get_config(self):
        return super().get_config() | {
            "channels": self.channels,
            "nodes": self.nodes,
            "operations": self.operations,
            "reduction": self.reduction,
            "previous_reduction": self.previous_reduction,
            "reduce_in": self.reduce_in,
            "partial_channels": self.partial_channels,
            "affine": self.affine,
            "threshold": self.threshold,
            "recompute": self.recompute,
        }
