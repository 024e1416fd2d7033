"""TensorFlow kernels that Keras does not offer and that keep graphs small; the one file of layers with `tf` in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


def add(tensors: Sequence[Any]) -> Any:
    """Returns the sum of tensors of one shape, in one pass over memory."""
    return tf.add_n(tensors) if len(tensors) > 1 else tensors[0]


def replicas() -> int:
    """Returns how many replicas train together."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def normalize_batch(x: Any, scale: Any, offset: Any, epsilon: float) -> tuple[Any, Any, Any]:
    """Normalises a batch by its own statistics.

    Args:
        x: [batch, height, width, channels].
        scale: float32 [channels].
        offset: float32 [channels].
        epsilon: added to the variance.

    Returns:
        The result like `x`, the mean and the unbiased variance, float32 [channels].
    """
    return tf.raw_ops.FusedBatchNormV3(
        x=x, scale=scale, offset=offset, mean=[], variance=[], epsilon=epsilon, is_training=True
    )[:3]


def biased(variance: Any, x: Any) -> Any:
    """Returns the biased variance of the channels of `x`, given the unbiased one."""
    count = tf.cast(tf.size(x) // x.shape[-1], tf.float32)
    return variance * ((count - 1.0) / count)


def normalize(x: Any, scale: Any, offset: Any, mean: Any, variance: Any, epsilon: float) -> Any:
    """Normalises by given statistics; shapes as in `normalize_batch`."""
    return tf.raw_ops.FusedBatchNormV3(
        x=x, scale=scale, offset=offset, mean=mean, variance=variance, epsilon=epsilon, is_training=False
    )[0]
