"""The binary mask and its straight-through gradient (paper §3.3, Eq. 4)."""

from __future__ import annotations

from typing import Any

from keras import ops

from hmnas_tf.layers import fused
from hmnas_tf.layers.learning import MASKS, is_fixed
from hmnas_tf.settings.paper import LEAST_CHANNELS


def binarize(real_mask: Any, threshold: float) -> Any:
    """Returns 1 where a real mask is above the threshold, else 0; its gradient passes straight through (Eq. 4).

    Where masks are fixed (`learning.fixed`) it has no gradient.

    M = H(M^r - tau), with H(0) = 0. The gradient of M is used as the gradient of M^r as it is, without clamping, as in
    BinaryConnect and Piggyback; so a mask that fell to 0 can come back.

    Args:
        real_mask: float tensor of any shape, M^r. Keep it in float32: at 1e-2 the steps of bfloat16 are larger than
            a mask's learning rate.
        threshold: tau.

    Returns:
        A tensor like `real_mask` of exact zeros and ones.

    >>> binarize([0.002, 0.005, 0.01], threshold=0.005).numpy().tolist()
    [0.0, 0.0, 1.0]
    """
    real_mask = fused.read(real_mask)
    hard = ops.cast(real_mask > threshold, real_mask.dtype)
    if is_fixed(MASKS):
        return hard
    # A comparison has no gradient. The difference is exactly 0, so the value is exactly 0 or 1; its gradient is 1.
    return hard + (real_mask - ops.stop_gradient(real_mask))


def living_channels(real_mask: Any, threshold: float) -> Any:
    """Returns which channels of a cell take part: `binarize`, but never fewer than `LEAST_CHANNELS`.

    Where masks leave fewer the highest real masks stay (DECISION); the gradient passes straight through all the same.

    Args:
        real_mask: one number a channel, float32 [channels].
        threshold: tau.

    Returns:
        Exact zeros and ones, [channels].

    >>> living_channels([0.002, 0.004, 0.001, 0.01], threshold=0.005).numpy().tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    soft = binarize(real_mask, threshold)
    hard = ops.stop_gradient(soft)
    _, highest = ops.top_k(ops.stop_gradient(fused.read(real_mask)), LEAST_CHANNELS)
    kept = ops.max(ops.one_hot(highest, hard.shape[0], dtype=hard.dtype), axis=0)
    return soft + (ops.maximum(hard, kept) - hard)
