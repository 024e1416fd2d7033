"""Batch normalization of parallel edges, with DARTS' constants."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from hmnas_tf.layers import fused
from hmnas_tf.layers.flat import Flats, assign_rows, rows
from hmnas_tf.settings.paper import BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM

AVERAGE: dict[str, Any] = dict(  # settings of a variable of moving averages
    dtype="float32",
    autocast=False,
    trainable=False,
    aggregation="mean",  # replicas hold the same value, because statistics span them all
)


@dataclasses.dataclass(frozen=True, eq=False)
class Statistics:
    """What some batch normalizations found in a batch.

    Attributes:
        norms: all for the same number of inputs.
        values: mean and variance of each in turn, side by side, as `normalize` returns them: [inputs, scalars].
        like: what was normalised, or anything of its shape.
        moves: whether their averages follow, bool [inputs, norms]; None is all.
    """

    norms: Sequence[BatchNorm]
    values: Any
    like: Any
    moves: np.ndarray | None = None


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

    Attributes:
        flats: before it is built, where the moving averages shall be parts of flat variables; None for its own.

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
        self.flats: Flats | None = None

    def build(self, input_shape, inputs: int | None = None):
        """Adds the variables; `inputs` is the number of inputs, `edges` if None."""
        channels = self.channels = input_shape[-1]
        self.inputs = self.edges if inputs is None else inputs
        self.moving_mean = self._average("moving_mean", (self.inputs, channels), 0.0)
        self.moving_variance = self._average("moving_variance", (self.inputs, channels), 1.0)
        self.gamma = self._scale("gamma", (self.edges, channels), 1.0) if self.affine else None
        self.beta = self._scale("beta", (self.edges, channels), 0.0) if self.affine else None

    def _average(self, name: str, shape: tuple[int, int], value: float) -> Any:
        initializer = keras.initializers.Constant(value)
        if self.flats is not None:
            return self.flats.average.part(shape, initializer)
        return self.add_weight(shape=shape, initializer=initializer, name=name, **AVERAGE)

    def _scale(self, name: str, shape: tuple[int, int], value: float) -> keras.Variable:
        initializer = keras.initializers.Constant(value)
        return self.add_weight(
            shape=shape, initializer=initializer, name=name, **AVERAGE | {"trainable": True}
        )

    def call(self, inputs, factors=None, training=None):
        results, statistics = self.results(inputs, factors, training)
        move_averages(statistics)
        return results

    def results(self, inputs: list, factors: Any, training: bool | None) -> tuple[list, list[Statistics]]:
        """Does what `call` does, but returns what it found in training instead of moving the averages."""
        values = {name: fused.read(variable) for name, variable in self.values(training).items()}
        inputs = inputs * self.edges if self.inputs == 1 else inputs
        found = []
        for edge, x in zip(range(self.edges), inputs, strict=True):
            own = {name: value[edge if value.shape[0] > 1 else 0] for name, value in values.items()}
            found.append(self.normalize(x, own, None if factors is None else factors[edge], training))
        results, statistics = zip(*found, strict=True)
        if not training:
            return list(results), []
        rows = ops.stack([ops.concatenate(own) for own in statistics[: self.inputs]])
        return list(results), [Statistics([self], rows, inputs[0])]

    def values(self, training: bool | None = None) -> dict[str, Any]:
        """Returns the variables that `normalize` needs, by name, [edges, channels] or [inputs, channels]."""
        found = {"gamma": self.gamma, "beta": self.beta} if self.affine else {}
        if not training:
            found |= {"moving_mean": self.moving_mean, "moving_variance": self.moving_variance}
        return found

    def normalize(
        self, x: Any, values: dict[str, Any], factor: Any, training: bool | None
    ) -> tuple[Any, list]:
        """Returns the result of one edge, and in training [mean, variance] of the batch, each [channels].

        Args:
            x: [batch, height, width, channels].
            values: of this edge, see `values`, each [channels].
            factor: a number, or one for each channel, [channels]; None for 1.
            training: as in `call`.
        """
        channels = x.shape[-1]
        if self.affine:
            factor = 1.0 if factor is None else ops.cast(factor, "float32")
            scale, offset = (values[name] * factor for name in ("gamma", "beta"))
        else:
            ones, offset = fused.constant(np.ones(channels)), fused.constant(np.zeros(channels))
            scale = ones if factor is None else _by_channel(ops.cast(factor, "float32"), channels)
        if not training:
            averages = values["moving_mean"], values["moving_variance"]
            return fused.normalize(x, scale, offset, *averages, BATCH_NORM_EPSILON), []
        y, mean, variance = normalize_batch(x, scale, offset, BATCH_NORM_EPSILON)
        return y, [mean, variance]

    def get_config(self):
        return super().get_config() | {"affine": self.affine, "edges": self.edges}


def factor_of(weight: Any, width: Any) -> Any:
    """Returns a factor for `BatchNorm.normalize`: a mixing weight times the binary width mask.

    Args:
        weight: a number, or None for 1.
        width: which channels take part, [channels], or None for all.
    """
    if weight is None or width is None:
        return width if weight is None else weight
    return ops.cast(weight, width.dtype) * width


def _by_channel(factor: Any, channels: int) -> Any:
    return factor if len(factor.shape) else fused.fill(channels, factor)


def move_averages(statistics: Sequence[Statistics]) -> None:
    """Moves the averages of batch normalizations towards what was found, those in the same flat variable at once."""
    groups: dict[Any, list[Statistics]] = {}
    for each in statistics:
        groups.setdefault(each.norms[0].flats or each, []).append(each)
    for group in groups.values():
        norms = [norm for each in group for norm in each.norms]
        averages = [x for norm in norms for x in (norm.moving_mean, norm.moving_variance)]
        rate = np.concatenate([_rates(each) for each in group], axis=1)
        values = [each.values for each in group]
        scale = rate
        if fused.replicas() == 1:  # the variances are unbiased
            is_variance = np.repeat(np.float32([0, 1] * len(norms)), [x.shape[-1] for x in averages])
            scale = rate * (1.0 - is_variance * (1.0 - fused.biased_share(group[0].like)))
        scale = fused.constant(scale) if isinstance(scale, np.ndarray) else scale
        found = ops.concatenate(values, axis=1) if len(values) > 1 else values[0]
        assign_rows(averages, rows(averages) * fused.constant(1.0 - rate) + found * scale)


def _rates(found: Statistics) -> np.ndarray:
    """Returns by how much each average moves, float32 [inputs, scalars]."""
    sizes = [2 * norm.moving_mean.shape[-1] for norm in found.norms]
    moves = np.ones((found.norms[0].inputs, len(sizes)), bool) if found.moves is None else found.moves
    return np.float32(1.0 - BATCH_NORM_MOMENTUM) * moves.repeat(sizes, axis=1)


def normalize_batch(x: Any, scale: Any, offset: Any, epsilon: float) -> tuple[Any, Any, Any]:
    """Does what `fused.normalize_batch` does, for all replicas together; then the variance is the biased one."""
    normalize = fused.normalize_batch if fused.replicas() == 1 else _normalize_all_replicas
    return normalize(x, scale, offset, epsilon)


def _normalize_all_replicas(x: Any, scale: Any, offset: Any, epsilon: float) -> tuple[Any, Any, Any]:
    """Does what `fused.normalize_batch` does, with the statistics of the batches of all replicas; biased variance."""
    values = ops.cast(x, "float32")
    mean, variance = ops.moments(values, (0, 1, 2), synchronized=True)
    scale = scale * ops.rsqrt(variance + epsilon)
    return ops.cast(values * scale + (offset - mean * scale), x.dtype), mean, variance
