"""Runs an artifact as its users do: in a process of its own, which knows the file and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hmnas_tf.exporters.parity import ArtifactError
from hmnas_tf.storage.plain_names import plainly

LONGEST = 500  # characters of a reason; some runtimes quote the whole graph


def run(artifact: str, runtime: str, path: Path, pixels: Path) -> Mapping[str, np.ndarray]:
    """Runs an artifact on images, see `hmnas_tf/runtimes/__main__.py`.

    Args:
        artifact: its name, for the message.
        runtime: a file of `hmnas_tf/runtimes`, without `.py`, or the path of another, with it.
        path: of the artifact.
        pixels: an `.npy` file of uint8 [N, H, W, C].

    Returns:
        `logits` float32 [N, classes], `labelling` (JSON text), `seconds` of loading and of a batch of 1 and of 32, and
        what the runtime found besides.

    Raises:
        ArtifactError: with the last line that the process wrote, if it failed.
    """
    with plainly(path) as named:
        return _call("__main__", (runtime, str(named), str(pixels)), f"{artifact}: {path.name} cannot be run")


def timed(runtime: str, folder: Path) -> Mapping[str, np.ndarray]:
    """Times artifacts on one image and one thread, see `hmnas_tf/runtimes/timing.py`.

    Args:
        runtime: a file of `hmnas_tf/runtimes`, without `.py`.
        folder: of the artifacts, and of nothing else.

    Returns:
        The seconds of each artifact, by the name of its file, [rounds].

    Raises:
        ArtifactError: with the last line that the process wrote, if it failed.
    """
    with plainly(folder) as named:
        return _call("timing", (runtime, str(named)), f"{runtime}: cannot be timed")


def micro_arena(model: Path) -> Mapping[str, np.ndarray]:
    """Finds how much memory a model needs, see `hmnas_tf/runtimes/micro_interpreter.py`.

    Args:
        model: a file in TensorFlow Lite's format.

    Returns:
        `arena_bytes`, and of them `activations` and `persistent`.

    Raises:
        ArtifactError: with the last line that the process wrote, if it failed: it names an unknown operator.
    """
    with plainly(model) as named:
        return _call("micro_interpreter", (str(named),), f"micro: {model.name} cannot be run")


def _call(module: str, arguments: Sequence[str], failure: str) -> Mapping[str, np.ndarray]:
    """Runs a module of `hmnas_tf.runtimes`, whose last argument is the `.npz` file of what it finds."""
    place = str(Path(__file__).parents[2])  # of the package
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([place, os.environ.get("PYTHONPATH", "")])}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out.npz")
        command = [sys.executable, "-m", f"hmnas_tf.runtimes.{module}", *arguments, str(out)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.strip()]
            reason = said[-1].strip() if said else f"ended by signal {-done.returncode}"
            raise ArtifactError(f"{failure}: {reason[:LONGEST]}")
        with np.load(out) as found:
            return dict(found)
