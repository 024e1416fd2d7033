"""Batch normalization of parallel edges, with DARTS' constants."""

from __future__ import annotations

from typing import Any

import keras
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
        shape = (self.edges, inputs[0].shape[-1])
        scale = ops.ones(shape) if self.gamma is None else ops.convert_to_tensor(self.gamma)
        offset = ops.zeros(shape) if self.beta is None else ops.convert_to_tensor(self.beta)
        if factors is not None:
            factors = ops.cast(factors, "float32")[:, None]
            scale, offset = scale * factors, offset if self.beta is None else offset * factors
        scales, offsets = ops.unstack(scale, self.edges), ops.unstack(offset, self.edges)
        if not training:
            statistics = [
                ops.unstack(ops.convert_to_tensor(v)) for v in (self.moving_mean, self.moving_variance)
            ]
            pairs = self._pairs(list(zip(inputs, *statistics, strict=True)))
            return [
                fused.normalize(x, scale, offset, mean, variance, BATCH_NORM_EPSILON)
                for (x, mean, variance), scale, offset in zip(pairs, scales, offsets, strict=True)
            ]
        normalize = fused.normalize_batches if fused.replicas() == 1 else _normalize_all_replicas
        results = normalize(self._pairs(inputs), scales, offsets, BATCH_NORM_EPSILON)
        outputs, means, variances = zip(*results, strict=True)
        mean, variance = (ops.stack(values[: self.inputs]) for values in (means, variances))
        if fused.replicas() == 1:
            variance = fused.biased(variance, inputs[0])
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            before = fused.read(moving)
            moving.assign(before + (value - before) * (1.0 - BATCH_NORM_MOMENTUM))
        return list(outputs)

    def _pairs(self, inputs: list) -> list:
        return inputs * self.edges if self.inputs == 1 else inputs

    def get_config(self):
        return super().get_config() | {"affine": self.affine, "edges": self.edges}


def _normalize_all_replicas(inputs: list, scales: list, offsets: list, epsilon: float) -> list[tuple]:
    """Does what `fused.normalize_batches` does, with the statistics of the batches of all replicas."""
    return [_of_all_replicas(*each, epsilon) for each in zip(inputs, scales, offsets, strict=True)]


def _of_all_replicas(x: Any, scale: Any, offset: Any, epsilon: float) -> tuple[Any, Any, Any]:
    values = ops.cast(x, "float32")
    mean, variance = ops.moments(values, (0, 1, 2), synchronized=True)
    scale = scale * ops.rsqrt(variance + epsilon)
    return ops.cast(values * scale + (offset - mean * scale), x.dtype), mean, variance
