"""An exponential moving average of a network's variables, which is measured and kept in their place (a DECISION).

Keras' optimizers can average too (`use_ema`), but not the statistics of batch normalizations, and every `fit` ends by
overwriting the weights, also one that a signal has stopped, so that a run could not go on from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf


class WeightAverage:
    """a <- d a + (1 - d) v after each step, for every variable v, with d = min(decay, (1 + t) / (10 + t)) at step t.

    Young averages forget faster, so that a short training is not averaged with where it began (the rule of TensorFlow's
    `ExponentialMovingAverage`). The statistics of batch normalizations are averaged alike: those of the last batches
    would be of other weights. What is exactly 0 stays so.

    Args:
        owner: stage whose variables the averages are, so that a checkpoint has them.
        variables: of the network, float32, with the values to begin from.
        decay: d in the long run, 0 < decay < 1.
    """

    def __init__(self, owner: keras.Model, variables: Sequence[keras.Variable], decay: float):
        self.decay = decay
        self.variables = list(variables)
        self.averages = [
            owner.add_weight(
                shape=variable.shape,
                dtype=variable.dtype,
                initializer="zeros",
                trainable=False,
                name=f"average_{number}",
            )
            for number, variable in enumerate(self.variables)
        ]
        copy_values(self.variables, self.averages)

    def update(self, step: Any) -> None:
        """Adds the present values; `step` is from 0."""
        step = tf.cast(step, tf.float32)
        rest = 1.0 - tf.minimum(self.decay, (1.0 + step) / (10.0 + step))
        for average, variable in zip(self.averages, self.variables, strict=True):
            old = average.value
            average.assign(old + rest * (variable.value - old))

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Inside, the network has the averages; afterwards it has its own values again, bit for bit."""
        own = [variable.numpy() for variable in self.variables]
        copy_values(self.averages, self.variables)
        try:
            yield
        finally:
            for variable, value in zip(self.variables, own, strict=True):
                variable.assign(value)


def copy_values(source: Sequence[keras.Variable], target: Sequence[keras.Variable]) -> None:
    """Gives variables the values of others, outside of a training step."""
    for old, new in zip(source, target, strict=True):
        new.assign(old.numpy())
