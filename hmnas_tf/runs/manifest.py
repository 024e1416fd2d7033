"""What a result depends on besides its flags, and what ran it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import tensorflow as tf

PACKAGES = (
    "hmnas_tf",
    "tensorflow",
    "keras",
    "numpy",
    "tensorflow-datasets",
    "tf2onnx",
    "onnx",
    "onnxruntime",
)


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages a result depends on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine(strategy: tf.distribute.Strategy) -> dict[str, Any]:
    """Returns the machine that a run is on, from where its paths are seen and how many replicas train there."""
    return {
        "host": platform.node(),
        "directory": os.getcwd(),
        "system": platform.platform(),
        "devices": [
            tf.config.experimental.get_device_details(device).get("device_name", device.name)
            for device in tf.config.list_physical_devices()
        ],
        "replicas": strategy.num_replicas_in_sync,
    }


def git_commit() -> str | None:
    """Returns the commit that this package is checked out at, `-dirty` after it if files differ; None if it is not."""
    command = [
        "git",
        "-C",
        str(Path(__file__).parent),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
        "--exclude=*",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
