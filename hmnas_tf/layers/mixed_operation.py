"""All candidate operations, on all edges that leave a node, at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from hmnas_tf.layers import fused
from hmnas_tf.layers.activity import ACTIVE, GONE, Activity, activity_of, rested
from hmnas_tf.layers.batch_norm import AVERAGE
from hmnas_tf.layers.edgewise import EdgeSum, each_edge
from hmnas_tf.layers.flat import Flats
from hmnas_tf.layers.masked_kernel import MASK
from hmnas_tf.layers.operations import OPERATIONS
from hmnas_tf.layers.source import Source
from hmnas_tf.settings.paper import MASK_THRESHOLD, PAPER_OPERATIONS


@keras.saving.register_keras_serializable(package="hmnas_tf")
class MixedOperation(keras.layers.Layer):
    """The weighted sum of all candidate operations on one input (paper §3.1, Eq. 1), for each edge that leaves it.

    mixed_e(x) = sum_o weight_(e,o) * o_e(x). The weights come from a `MultiLevelEncoding`, which has already taken the
    softmax, multiplied it with the edge's importance (Eq. 2) and gated it with the masks (§3.3).

    Args:
        channels: of input and output.
        edges: that leave the node; each has operations with weights of its own.
        strides: 1, or 2 to halve the resolution.
        operations: names in `OPERATIONS`.
        affine: of the operations' batch normalizations.
        threshold: tau of the operations' weight masks.
        recompute: whether a training step keeps nothing of what is inside an edge and computes it again on the way
            back (gradient checkpointing, arXiv:1604.06174): less memory, one more forward pass.

    Inputs: [batch, height, width, channels] and the mixing weights [edges, operations].
    Output: a list with one [batch, ceil(height / strides), ceil(width / strides), channels] an edge.

    Raises:
        ValueError: if an operation is unknown.

    >>> mixed = MixedOperation(4, edges=2, operations=("sep_conv_3x3", "identity"))
    >>> weights = np.full((2, 2), 0.5, "float32")
    >>> [y.shape for y in mixed(keras.Input((8, 8, 4)), weights)]
    [(None, 8, 8, 4), (None, 8, 8, 4)]
    """

    def __init__(
        self,
        channels: int,
        *,
        edges: int = 1,
        strides: int = 1,
        operations: tuple[str, ...] = PAPER_OPERATIONS,
        affine: bool = False,
        threshold: float = MASK_THRESHOLD,
        recompute: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        unknown = [name for name in operations if name not in OPERATIONS]
        if unknown or not operations:
            raise ValueError(
                f"operations={','.join(operations)!r}: choose some of {', '.join(sorted(OPERATIONS))}."
            )
        self.edges = edges
        self.channels = channels
        self.strides = strides
        self.operations = tuple(operations)
        self.affine = affine
        self.threshold = threshold
        self.recompute = recompute
        settings = dict(edges=edges, strides=strides, affine=affine, threshold=threshold)
        self.candidates = [OPERATIONS[name](channels, name=name, **settings) for name in self.operations]

        # What becomes functions of a graph. A cell gives its mixed operations some in common, where they are alike.
        self.edge_sum = EdgeSum([candidate for candidate in self.candidates if candidate.reads], recompute)
        self.flats = Flats(edges, [*self.edge_sum.kernels, *self.edge_sum.batch_norms])
        others = [candidate for candidate in self.candidates if not candidate.reads]
        self.shared_flats = Flats(1, [norm for candidate in others for norm in candidate.batch_norms])
        self.real_masks: list[keras.Variable] = []  # that are variables of this layer's own
        self.set_activity(None)

    def set_activity(self, table: Any) -> None:
        """Chooses what graphs that are built from now on compute; see `activity`.

        Args:
            table: `GONE`, `RESTING` or `ACTIVE` for each operation of each edge, [edges, operations]; None for all of
                them active.
        """
        columns = [(ACTIVE,) * self.edges] * len(self.candidates) if table is None else table.T
        self.activities: tuple[Activity, ...] = tuple(activity_of(column) for column in columns)

    @property
    def computes(self) -> bool:
        """Whether graphs that are built from now on compute anything of the input, see `set_activity`."""
        return max(map(max, self.activities)) > GONE

    def build(self, inputs_shape, weights_shape=None):
        self.pixels = tuple(inputs_shape[1:3])
        for candidate in self.candidates:
            candidate.build(inputs_shape)
        if self.flats.kernel.parts:
            self.flats.kernel.add_to(self, "kernel")
            self.real_masks = [self.flats.real_mask.add_to(self, "real_mask", **MASK)]
        for flats, name in (
            (self.flats, "moving_mean_and_variance"),
            (self.shared_flats, "shared_moving_mean_and_variance"),
        ):
            if flats.average.parts:
                flats.average.add_to(self, name, **AVERAGE)

    def call(self, inputs, weights, training=None):
        with Source(inputs) as source:
            return [fused.add(terms) for terms in self.terms(source, weights, training)]

    def terms(self, source: Source, weights, training: bool | None) -> list[list]:
        """Returns the summands of each edge, so that a node can add those of all its edges at once.

        An edge none of whose operations is computed has none.
        """
        columns = ops.unstack(weights, len(self.candidates), axis=1)
        results, shared, own = [], [], []
        for candidate, column, activity in zip(self.candidates, columns, self.activities, strict=True):
            if candidate.reads:
                own.append((column, activity))
            elif max(activity) > GONE:
                same = candidate.shared(source, training)
                if same is None:
                    read = candidate.read(source, column, training=training)
                    results.append(_without_gone(read, [activity]))
                else:
                    shared.append((same if max(activity) == ACTIVE else rested(same), column, activity))
        if own:
            factors, activities = zip(*own, strict=True)
            factors = ops.stack(factors, axis=1)
            results.append(each_edge(self.edge_sum, source, factors, training, activities))
        if shared:
            tensors, factors, activities = zip(*shared, strict=True)
            combined = fused.combine(tensors, ops.stack(factors, axis=1))
            results.append(_without_gone(combined, activities))
        return [[terms[edge] for terms in results if terms[edge] is not None] for edge in range(self.edges)]

    def get_config(self):
        return super().get_config() | {
            "channels": self.channels,
            "edges": self.edges,
            "strides": self.strides,
            "operations": self.operations,
            "affine": self.affine,
            "threshold": self.threshold,
            "recompute": self.recompute,
        }


def _without_gone(values: Sequence[Any], activities: Sequence[Activity]) -> list:
    """Returns one value an edge, None in the place of those for which none of the activities computes anything."""
    return [
        x if max(states) > GONE else None
        for x, states in zip(values, zip(*activities, strict=True), strict=True)
    ]
