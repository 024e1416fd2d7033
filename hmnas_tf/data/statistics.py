"""Mean and deviation of the pixels of a set of images, counted exactly."""

from __future__ import annotations

import numpy as np

from hmnas_tf.data.rows import Images, Rows, blocks


def mean_and_std(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns mean and standard deviation of each channel of images scaled to 0..1; deviation 1 for a constant one.

    Counting the 256 values is exact whatever the number of images and their order, and needs one pass. Of images on
    disk it is made once.

    Args:
        images: uint8 [N, H, W, C].
    """
    if isinstance(images, Rows) and images.store:
        of = [images.index, np.array(images.size)]
        counts = np.array(images.store.remembered("values", of, lambda: _counts(images).tolist()))
    else:
        counts = _counts(images)
    values = np.arange(256) / 255.0
    shares = counts / counts.sum(axis=1, keepdims=True)
    mean = shares @ values
    std = np.sqrt((shares * (values - mean[:, None]) ** 2).sum(axis=1))
    std[std < 1e-6] = 1.0  # dividing by the rounding error of a constant channel would blow it up
    return tuple(map(float, mean)), tuple(map(float, std))


def _counts(images: Images) -> np.ndarray:
    """Returns how often each value occurs, integers [C, 256]."""
    channels = images.shape[3]
    counts = np.zeros((channels, 256), np.int64)
    for block in blocks(images):
        for channel in range(channels):
            counts[channel] += np.bincount(block[..., channel].ravel(), minlength=256)
    return counts
