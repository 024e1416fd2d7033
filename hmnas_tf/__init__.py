"""HM-NAS: hierarchical-masking neural architecture search on Keras 3 and TensorFlow (arXiv:1909.00122)."""

from __future__ import annotations

import importlib
import os
from typing import Any

# Read when TensorFlow is loaded. Without AVX-512 it leaves oneDNN off: depthwise convolutions are then 4 times slower.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

__version__ = "0.1.0"
__all__ = ["Config", "ImageDataset", "SearchResult", "dataset_from", "layers", "load_dataset", "search"]

_PLACES = {  # loaded on first use, because TensorFlow takes seconds to load
    "Config": "hmnas_tf.config",
    "ImageDataset": "hmnas_tf.data",
    "SearchResult": "hmnas_tf.runs.publication",
    "dataset_from": "hmnas_tf.data",
    "load_dataset": "hmnas_tf.data",
    "search": "hmnas_tf.algorithm",
}


def __getattr__(name: str) -> Any:
    if name == "layers":
        return importlib.import_module("hmnas_tf.layers")
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'hmnas_tf' has no attribute {name!r}")
