"""Keras' global settings as they are by default: a run must not depend on what other programs want."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from hmnas_tf.console.keras_settings import require_tensorflow

NAMES = ("floatx", "dtype_policy", "image_data_format", "epsilon", "max_epochs", "max_steps_per_epoch")
DEFAULTS = ("float32", "float32", "channels_last", 1e-7, None, None)


def begin() -> None:
    """Sets them for the rest of the process, which is ours, a command's; TensorFlow looks for GPUs."""
    tf.config.list_physical_devices()
    _set(DEFAULTS)


@contextlib.contextmanager
def own_defaults() -> Iterator[None]:
    """Inside, they are set; afterwards they are what the caller had.

    Raises:
        ValueError: if Keras is on another backend, which nobody can change any more.
    """
    require_tensorflow()
    before = [getattr(keras.config, name)() for name in NAMES]
    _set(DEFAULTS)
    try:
        yield
    finally:
        _set(before)


def _set(values: Any) -> None:
    for name, value in zip(NAMES, values, strict=True):
        getattr(keras.config, f"set_{name}")(value)
