"""On which devices a run trains."""

from __future__ import annotations

import tensorflow as tf


def make_strategy(replicas: int) -> tf.distribute.Strategy:
    """Returns a mirrored strategy over so many GPUs, or over the CPU's logical devices where there is no GPU.

    Args:
        replicas: number of devices; 0 is all visible GPUs, or one CPU.

    Raises:
        ValueError: if there are fewer devices; TensorFlow would wait for them for ever.
    """
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    devices = tf.config.list_logical_devices(kind)
    wanted = replicas or (len(devices) if kind == "GPU" else 1)
    if wanted > len(devices):
        raise ValueError(
            f"replicas={wanted}, but only {len(devices)} {kind} device(s) are visible: ask for fewer."
        )
    return tf.distribute.MirroredStrategy([f"{kind}:{i}" for i in range(wanted)])
