"""Importance of operations and edges, learned, and the masks that gate it (paper §3.1, §3.3)."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from hmnas_tf.layers import fused
from hmnas_tf.layers.binary_mask import binarize
from hmnas_tf.settings.paper import ARCHITECTURE_STDDEV, MASK_INITIAL, MASK_THRESHOLD
from hmnas_tf.space.topology import INPUTS, cell_edges, edges_into


def operation_importance(alpha: Any) -> Any:
    """Returns the softmax of alpha over the operations of each edge (Eq. 1): [edges, operations]."""
    if alpha.shape[-1] == 1:
        return 0.0 * alpha + 1.0  # Keras warns of a softmax over one value
    return ops.softmax(alpha, axis=-1)


def _softmax_of_nodes(beta: Any, nodes: int) -> Any:
    return ops.concatenate([ops.softmax(part) for part in _by_target(beta, nodes)])


def _by_target(values: Any, nodes: int) -> list:
    """Returns the values [edges] of the edges that reach each node."""
    return fused.split(values, [part.stop - part.start for part in edges_into(nodes)], axis=0)


EDGE_SOFTMAXES = {
    "dag": lambda beta, nodes: ops.softmax(beta),  # over the whole cell, as the figures 4 to 6 show it
    "node": _softmax_of_nodes,  # over a node's incoming edges (Eq. 2)
    "none": lambda beta, nodes: 0.0 * beta + 1.0,  # DARTS' single-level encoding: edges just add up (Table 5)
}


def edge_importance(beta: Any, nodes: int, softmax: str = "node") -> Any:
    """Returns the softmax of beta, over the incoming edges of each node (Eq. 2) or over the whole cell: [edges].

    Without an edge softmax (`none`) it is 1 for every edge.
    """
    return EDGE_SOFTMAXES[softmax](beta, nodes)


def living_gates(operation_mask: Any, edge_mask: Any, importance: Any, nodes: int) -> Any:
    """Returns which operations of which edges take part in a cell (paper §3.3; the rescue is a DECISION).

    An operation takes part if neither it nor its edge is masked and the edge's source is alive. A node is alive if
    anything that takes part reaches it; the two inputs always are. A cell none of whose nodes is alive keeps its most
    important operation on an edge from an input: without it the network would have no path.

    Args:
        operation_mask: binary, [edges, operations].
        edge_mask: binary, [edges].
        importance: operation importance times edge importance, [edges, operations]: ranks what is kept.
        nodes: intermediate nodes.

    Returns:
        Zeros and ones, [edges, operations], through which the masks' gradients pass.
    """
    edges = cell_edges(nodes)
    gates = operation_mask * ops.expand_dims(edge_mask, -1)
    hard = ops.stop_gradient(gates)
    path = ops.cast(strongest_path(importance, nodes), gates.dtype)
    rescue = path * (1.0 - ops.max(_alive(hard, nodes)[INPUTS:]))
    alive = _alive(hard + rescue, nodes)
    sources = ops.take(alive, [edge.source for edge in edges])
    return gates * ops.expand_dims(sources, -1) + rescue


def strongest_path(importance: Any, nodes: int) -> Any:
    """Returns 1 for the most important operation on an edge from an input, 0 for all others: [edges, operations]."""
    ranks = ops.stop_gradient(importance)
    from_inputs = [float(edge.source < INPUTS) for edge in cell_edges(nodes)]
    strongest = ops.argmax(ops.reshape(ranks * ops.expand_dims(ops.array(from_inputs), -1), (-1,)))
    return ops.reshape(ops.one_hot(strongest, ops.size(ranks), dtype=ranks.dtype), ops.shape(ranks))


def _alive(gates: Any, nodes: int) -> Any:
    """Returns 1 for each node that something reaches, 0 for the others; inputs first: [2 + nodes]."""
    on = ops.max(gates, axis=-1)
    alive = ops.ones((INPUTS,), dtype=gates.dtype)
    for part in _by_target(on, nodes):
        node = ops.max(part * alive, keepdims=True)
        alive = ops.concatenate([alive, node])
    return alive


@keras.saving.register_keras_serializable(package="hmnas_tf")
class MultiLevelEncoding(keras.layers.Layer):
    """The architecture of a cell as numbers: alpha for operations, beta for edges, and a real mask for each.

    It has no input, so it is not called: `mixing_weights` is softmax(alpha) * M_alpha * softmax(beta) * M_beta (Eqs. 1
    and 2, projected as §3.3 asks). The masks gate what comes after the softmax: a 0 multiplied onto a logit would
    remove nothing, since exp(0) = 1 (DECISION). All its weights and results are float32, also under mixed precision.

    Args:
        nodes: intermediate nodes of the cell.
        operations: number of candidate operations.
        edge_softmax: name in `EDGE_SOFTMAXES`.
        threshold: tau.
        renormalize: let the surviving weights of each softmax sum to 1 again (DECISION: off).
        bypass: give each edge one more mixing weight, its last, for the channels that pass its operations by (see
            `layers/partial.py`): the edge's importance as long as an operation of it takes part.

    Raises:
        ValueError: if the edge softmax is unknown.

    >>> encoding = MultiLevelEncoding(nodes=2, operations=3)
    >>> encoding.mixing_weights().shape
    TensorShape([5, 3])
    >>> round(float(encoding.mixing_weights().numpy().sum()), 3)  # 1 for each node
    2.0
    """

    def __init__(
        self,
        nodes: int,
        operations: int,
        *,
        edge_softmax: str = "node",
        threshold: float = MASK_THRESHOLD,
        renormalize: bool = False,
        bypass: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs | {"dtype": "float32"})
        if edge_softmax not in EDGE_SOFTMAXES:
            raise ValueError(
                f"edge_softmax={edge_softmax!r}: choose one of {', '.join(sorted(EDGE_SOFTMAXES))}."
            )
        self.nodes = nodes
        self.operations = operations
        self.edge_softmax = edge_softmax
        self.threshold = threshold
        self.renormalize = renormalize
        self.bypass = bypass
        edges = len(cell_edges(nodes))
        self.alpha = self._add("alpha", (edges, operations))
        self.beta = self._add("beta", (edges,))
        self.operation_mask = self._add("operation_mask", (edges, operations), MASK_INITIAL)
        self.edge_mask = self._add("edge_mask", (edges,), MASK_INITIAL)
        self.built = True

    def _add(self, name: str, shape: tuple[int, ...], value: float | None = None) -> keras.Variable:
        initializer, own = keras.initializers.RandomNormal(stddev=ARCHITECTURE_STDDEV), {}
        if value is not None:  # a mask, which is also assigned to in a step, by all replicas alike
            initializer, own = keras.initializers.Constant(value), {"aggregation": "only_first_replica"}
        return self.add_weight(shape=shape, initializer=initializer, name=name, autocast=False, **own)

    @property
    def architecture_parameters(self) -> list[keras.Variable]:
        """alpha and beta."""
        return [self.alpha, self.beta]

    @property
    def real_masks(self) -> list[keras.Variable]:
        """The real masks of operations and edges."""
        return [self.operation_mask, self.edge_mask]

    def importances(self) -> tuple[Any, Any]:
        """Returns operation importance [edges, operations] and edge importance [edges], before masking."""
        return operation_importance(self.alpha), edge_importance(self.beta, self.nodes, self.edge_softmax)

    def gates(self) -> Any:
        """Returns which operations take part, [edges, operations]: `living_gates` of the binarized masks."""
        return self._gates(*self.importances())

    def _gates(self, of_operations: Any, of_edges: Any) -> Any:
        masks = (binarize(mask, self.threshold) for mask in self.real_masks)
        return living_gates(*masks, of_operations * ops.expand_dims(of_edges, -1), self.nodes)

    def surviving_importances(self) -> tuple[Any, Any, Any]:
        """Returns gates, operation importance and edge importance, renormalized over the survivors if so asked."""
        of_operations, of_edges = self.importances()
        gates = self._gates(of_operations, of_edges)
        if self.renormalize:
            alive = ops.max(gates, axis=-1)
            of_operations = of_operations / _sum_or_one(of_operations * gates)
            of_edges = of_edges / self._sum_of_survivors(of_edges * alive)
        return gates, of_operations, of_edges

    def _sum_of_survivors(self, surviving: Any) -> Any:
        if self.edge_softmax == "none":  # which promises no sum
            return ops.ones_like(surviving)
        if self.edge_softmax == "dag":
            return _sum_or_one(surviving)
        sums = [ops.repeat(_sum_or_one(part), part.shape[0]) for part in _by_target(surviving, self.nodes)]
        return ops.concatenate(sums)

    def mixing_weights(self) -> Any:
        """Returns the weight of every operation of every edge in its node's sum, [edges, operations].

        With a bypass [edges, operations + 1]. What passes an edge by goes with its last operation, but only the edge's
        mask has a gradient from it, because an operation's mask decides on what the operation makes.
        """
        gates, of_operations, of_edges = self.surviving_importances()
        weights = of_operations * ops.expand_dims(of_edges, -1) * gates
        if not self.bypass:
            return weights
        edge_mask = binarize(self.edge_mask, self.threshold)
        straight_through = edge_mask - ops.stop_gradient(edge_mask)
        passing = of_edges * (ops.stop_gradient(ops.max(gates, axis=-1)) + straight_through)
        return ops.concatenate([weights, ops.expand_dims(passing, -1)], axis=-1)

    def get_config(self):
        return super().get_config() | {
            "nodes": self.nodes,
            "operations": self.operations,
            "edge_softmax": self.edge_softmax,
            "threshold": self.threshold,
            "renormalize": self.renormalize,
            "bypass": self.bypass,
        }


def _sum_or_one(values: Any) -> Any:
    total = ops.sum(values, axis=-1, keepdims=True)
    return ops.where(total > 0, total, ops.ones_like(total))
