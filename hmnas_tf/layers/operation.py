"""What candidate operations have in common; the operations themselves stand in `operations.py`."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from hmnas_tf.layers.batch_norm import BatchNorm
from hmnas_tf.layers.edgewise import EdgeSum, Values, each_edge
from hmnas_tf.layers.masked_kernel import MaskedKernel, halved_shape
from hmnas_tf.layers.source import Form, Source
from hmnas_tf.settings.paper import MASK_THRESHOLD


class Operation(keras.layers.Layer):
    """What all candidate operations are made with.

    Args:
        channels: of input and output.
        edges: that leave the node, each with its own weights.
        strides: 1, or 2 to halve the resolution.
        affine: whether batch normalizations learn a scale and an offset.
        threshold: tau of the kernels' masks.
    """

    narrows = (
        False  # whether it obeys `Source.width` inside too, and `stock` takes `channels`: for width masks
    )
    reads: tuple[Form, ...] = ()  # of an operation that is computed edge by edge, see `Edgewise`
    apart = 1

    def __init__(
        self,
        channels: int,
        *,
        edges: int = 1,
        strides: int = 1,
        affine: bool = False,
        threshold: float = MASK_THRESHOLD,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.channels = channels
        self.edges = edges
        self.strides = strides
        self.affine = affine
        self.threshold = threshold

    def call(self, inputs, weights=None, training=None):
        """Returns the operation's result, times the edge's weight, for each edge."""
        with Source(inputs) as source:
            return self.read(source, weights, training=training)

    def read(self, source: Source, weights: Any = None, training: bool | None = None) -> list:
        """Does what `call` does, from a source that other operations read too; an operation has one of the two.

        Args:
            source: the node that the edges leave.
            weights: mixing weights [edges], or None for ones.
            training: as in `call`.
        """
        if self.reads:
            weights = None if weights is None else ops.expand_dims(weights, -1)
            return each_edge(EdgeSum([self]), source, weights, training)
        if type(self).call is Operation.call:  # which would come here again
            raise NotImplementedError(
                f"{type(self).__name__}: expected a method `call` or `read`, or `reads` with `term`."
            )
        return self(source.inputs, weights, training=training)

    def shared(self, source: Source, training: bool | None = None) -> Any:
        """Returns the result before the edges' weights if it is the same for all edges, else None.

        A mixed operation then adds the shared results of all its operations at once, instead of calling `read`.
        """

    @property
    def kernels(self) -> list[MaskedKernel]:
        """Those of its convolutions that `term` uses, see `Edgewise`."""
        return []

    @property
    def batch_norms(self) -> list[BatchNorm]:
        """Those that `term` uses, see `Edgewise`; without `reads` those that note in the source what they find."""
        return []

    def term(self, forms: dict[Form, Any], values: Values, weight: Any, training: bool) -> tuple[Any, list]:
        """Computes one edge, see `Edgewise`."""
        raise NotImplementedError

    def output_shape_for(self, input_shape: tuple) -> tuple:
        """Returns the shape of each result."""
        return halved_shape(input_shape, self.strides)

    def stock(
        self, x: Any, name: str, edge: int, weight: float = 1.0, channels: np.ndarray | None = None
    ) -> Any:
        """Applies `weight` times the operation of one edge in stock Keras layers to a Keras tensor.

        Args:
            x: [batch, height, width, channels].
            name: what the names of the layers start with.
            edge: which of the edges.
            weight: the operation's importance times the edge's. The last batch normalization takes it as its scale;
                where there is none a layer of its own holds it.
            channels: positions of the channels that exist of what is read and made; None is all. Only operations that
                `narrows` are asked for some.
        """
        raise NotImplementedError

    def binary_masks(self, edge: int) -> list[np.ndarray]:
        """Returns the masks of the kernels of one edge, bool; edges are the first axis of all kernels."""
        kernels = [layer for layer in self._flatten_layers() if isinstance(layer, MaskedKernel)]
        return [kernel.binary_mask()[edge] for kernel in kernels]

    def get_config(self):
        return super().get_config() | {
            "channels": self.channels,
            "edges": self.edges,
            "strides": self.strides,
            "affine": self.affine,
            "threshold": self.threshold,
        }


class DepthwiseOperation(Operation):
    """An operation with a square depthwise kernel.

    Args:
        kernel_size: in pixels, odd.
    """

    def __init__(self, channels: int, *, kernel_size: int, **kwargs):
        super().__init__(channels, **kwargs)
        self.kernel_size = kernel_size

    def get_config(self):
        return super().get_config() | {"kernel_size": self.kernel_size}
