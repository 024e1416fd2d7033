"""Batch normalization of parallel edges, with DARTS' constants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from hmnas_tf.config import BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM
from hmnas_tf.layers import fused


@keras.saving.register_keras_serializable(package="hmnas_tf")
class BatchNorm(keras.layers.Layer):
    """Batch normalization for each parallel edge apart, with the edge's mixing weight as a factor.

    In training the batch's statistics normalise and move the averages (biased variance, as in Keras), else the
    averages normalise. With several replicas the statistics are those of the whole batch. The factor costs nothing,
    because it is the scale of the normalization: weight * BN(x) (Eq. 1).

    Args:
        affine: whether a scale and an offset are learned; inside the supernet's cells they are not.
        edges: results; each has its own scale, offset and factor.

    Inputs: a list of one or `edges` tensors [batch, height, width, channels], and factors [edges] or None for ones.
    Output: a list of `edges` tensors.

    >>> norm = BatchNorm(edges=2)
    >>> norm.build((None, 8, 8, 4))
    >>> image = keras.Input((8, 8, 4))
    >>> [y.shape for y in norm([image, image], factors=[1.0, 0.5])]
    [(None, 8, 8, 4), (None, 8, 8, 4)]
    """

    def __init__(self, *, affine: bool = False, edges: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.affine = affine
        self.edges = edges

    def build(self, input_shape, inputs: int | None = None):
        """Adds the variables; `inputs` is the number of inputs, `edges` if None."""
        channels = input_shape[-1]
        self.inputs = self.edges if inputs is None else inputs
        self.moving_mean = self._add("moving_mean", (self.inputs, channels), 0.0)
        self.moving_variance = self._add("moving_variance", (self.inputs, channels), 1.0)
        self.gamma = self._add("gamma", (self.edges, channels), 1.0, trainable=True) if self.affine else None
        self.beta = self._add("beta", (self.edges, channels), 0.0, trainable=True) if self.affine else None

    def _add(
        self, name: str, shape: tuple[int, int], value: float, trainable: bool = False
    ) -> keras.Variable:
        return self.add_weight(
            shape=shape,
            initializer=keras.initializers.Constant(value),
            name=name,
            dtype="float32",
            autocast=False,
            trainable=trainable,
            aggregation="mean",  # replicas hold the same value, because statistics span them all
        )

    def call(self, inputs, factors=None, training=None):
        values = self.values(factors, training)
        rows = [{name: value[edge] for name, value in values.items()} for edge in range(self.edges)]
        inputs = inputs * self.edges if self.inputs == 1 else inputs
        found = [self.normalize(x, row, training) for x, row in zip(inputs, rows, strict=True)]
        if training:
            statistics = [ops.stack(pair) for _, pair in found[: self.inputs]]
            move_averages([self], ops.stack(statistics, axis=1), like=inputs[0])
        return [y for y, _ in found]

    def values(self, factors: Any = None, training: bool | None = None) -> dict[str, Any]:
        """Returns what `normalize` needs of each edge, stacked over the edges: [edges, ...]."""
        found = {"scale": fused.read(self.gamma), "offset": fused.read(self.beta)} if self.affine else {}
        if factors is not None:
            factors = ops.expand_dims(ops.cast(factors, "float32"), -1)
            ones = ops.ones((self.edges, self.moving_mean.shape[-1]))
            found = {name: value * factors for name, value in ({"scale": ones} | found).items()}
        if not training:
            statistics = {"mean": fused.read(self.moving_mean), "variance": fused.read(self.moving_variance)}
            repeats = self.edges // self.inputs
            found |= {k: ops.repeat(v, repeats, axis=0) if repeats > 1 else v for k, v in statistics.items()}
        return found

    def normalize(self, x: Any, values: dict[str, Any], training: bool | None) -> tuple[Any, list]:
        """Returns the result of one edge, and in training the mean and the variance of the batch [channels].

        Args:
            x: [batch, height, width, channels].
            values: those of this edge.
            training: as in `call`.
        """
        scale = values["scale"] if "scale" in values else ops.ones(x.shape[-1:])
        offset = values["offset"] if "offset" in values else ops.zeros(x.shape[-1:])
        if not training:
            return fused.normalize(
                x, scale, offset, values["mean"], values["variance"], BATCH_NORM_EPSILON
            ), []
        normalize = fused.normalize_batch if fused.replicas() == 1 else _normalize_all_replicas
        y, mean, variance = normalize(x, scale, offset, BATCH_NORM_EPSILON)
        return y, [mean, variance]

    def get_config(self):
        return super().get_config() | {"affine": self.affine, "edges": self.edges}


def move_averages(
    norms: Sequence[BatchNorm], statistics: Any, like: Any, moves: np.ndarray | None = None
) -> None:
    """Moves the averages of batch normalizations towards the statistics of a batch, all at once.

    Args:
        norms: all for the same number of inputs and channels.
        statistics: mean and variance of each in turn, as `normalize` returns them, [2 * norms, inputs, channels].
        like: what was normalised, or anything of its shape.
        moves: which of them, bool [norms, inputs]; None is all.
    """
    averages = [average for norm in norms for average in (norm.moving_mean, norm.moving_variance)]
    if fused.replicas() == 1:
        shares = ops.convert_to_tensor([1.0, fused.biased_share(like)] * len(norms))  # of means and variances
        statistics = statistics * ops.reshape(shares, (-1, 1, 1))
    before = ops.stack([fused.read(average) for average in averages])
    rate = 1.0 - BATCH_NORM_MOMENTUM
    if moves is not None:
        rate = (rate * moves.repeat(2, axis=0)[..., None]).astype(np.float32)
    after = before + (statistics - before) * rate
    for average, value in zip(averages, ops.unstack(after, len(averages)), strict=True):
        average.assign(value)


def _normalize_all_replicas(x: Any, scale: Any, offset: Any, epsilon: float) -> tuple[Any, Any, Any]:
    """Does what `fused.normalize_batch` does, with the statistics of the batches of all replicas; biased variance."""
    values = ops.cast(x, "float32")
    mean, variance = ops.moments(values, (0, 1, 2), synchronized=True)
    scale = scale * ops.rsqrt(variance + epsilon)
    return ops.cast(values * scale + (offset - mean * scale), x.dtype), mean, variance
