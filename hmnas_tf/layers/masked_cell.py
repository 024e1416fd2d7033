"""A cell together with its own learned architecture."""

from __future__ import annotations

import functools
from typing import Any

import keras
from keras import ops

from hmnas_tf.layers import partial, stock
from hmnas_tf.layers.cell import Cell
from hmnas_tf.layers.multi_level_encoding import MultiLevelEncoding
from hmnas_tf.space.topology import INPUTS, edges_from, edges_into


@keras.saving.register_keras_serializable(package="hmnas_tf")
class MaskedCell(Cell):
    """A `Cell` that owns its `MultiLevelEncoding`: for a network in which no other cell shares its architecture.

    Args:
        channels: C of every node; all other arguments of `Cell` go too.
        edge_softmax: see `MultiLevelEncoding`.
        renormalize: see `MultiLevelEncoding`.

    Inputs: the outputs of the two layers before it, [batch, height, width, any].
    Output: [batch, height', width', nodes * channels].

    >>> image = keras.Input((8, 8, 3))
    >>> first = MaskedCell(4, nodes=2, operations=("sep_conv_3x3", "identity"))(image, image)
    >>> second = MaskedCell(8, nodes=2, operations=("sep_conv_3x3", "identity"), reduction=True)(image, first)
    >>> first.shape, second.shape
    ((None, 8, 8, 8), (None, 4, 4, 16))
    """

    def __init__(self, channels: int, *, edge_softmax: str = "node", renormalize: bool = False, **kwargs):
        super().__init__(channels, **kwargs)
        self.edge_softmax = edge_softmax
        self.renormalize = renormalize
        self.encoding = MultiLevelEncoding(
            self.nodes,
            len(self.operations),
            edge_softmax=edge_softmax,
            threshold=self.threshold,
            renormalize=renormalize,
            bypass=self.partial_channels > 1,
            name="encoding",
        )

    def build(self, first_shape, second_shape):
        super().build(first_shape, second_shape)

    def call(self, first, second, training=None):
        return super().call(first, second, self.encoding.mixing_weights(), training=training)

    def stock(self, first: Any, second: Any, name: str) -> Any:
        """Applies what survives of the cell in stock layers to two Keras tensors.

        Nodes that nothing reaches stay in the output, as zeros, so that what reads it need not change.
        """
        weights = ops.convert_to_numpy(self.encoding.mixing_weights())
        states = [
            preprocess.stock(x, f"{name}_preprocess{source}")
            for source, (preprocess, x) in enumerate(zip(self.preprocess, (first, second), strict=True))
        ]

        @functools.cache
        def split(source: int) -> tuple[Any, Any]:
            strides = self.mixed[source].strides
            return partial.stock_split(states[source], self.partial_channels, strides, f"{name}_node{source}")

        for part in edges_into(self.nodes):
            made, passing = [], []
            for source, row in enumerate(range(part.start, part.stop)):
                place, own = f"{name}_edge{source}_{len(states)}", weights[row].tolist()
                for operation, candidate, weight in zip(
                    self.operations, self.mixed[source].candidates, own, strict=False
                ):
                    if weight:
                        edge = edges_from(self.nodes)[source].index(row)
                        made.append(candidate.stock(split(source)[0], f"{place}_{operation}", edge, weight))
                if self.partial_channels > 1 and own[-1]:
                    passing.append(stock.weighted(split(source)[1], own[-1], f"{place}_passing"))
            states.append(partial.stock_node(made, passing, f"{name}_node{len(states)}") if made else None)
        nodes = states[INPUTS:]
        if None in nodes:
            living = next(node for node in nodes if node is not None)
            zeros = keras.layers.Rescaling(0.0, name=f"{name}_dead")(living)
            nodes = [zeros if node is None else node for node in nodes]
        return keras.layers.Concatenate(name=f"{name}_concat")(nodes) if len(nodes) > 1 else nodes[0]

    def get_config(self):
        own = {"edge_softmax": self.edge_softmax, "renormalize": self.renormalize}
        return super().get_config() | own
