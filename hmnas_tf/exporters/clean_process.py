"""Runs an artifact as its users do: in a process of its own, which knows the file and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
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
    place = str(Path(__file__).parents[2])  # of the package
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([place, os.environ.get("PYTHONPATH", "")])}
    with tempfile.TemporaryDirectory() as folder, plainly(path) as named:
        out = Path(folder, "out.npz")
        command = [sys.executable, "-m", "hmnas_tf.runtimes", runtime, str(named), str(pixels), str(out)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.strip()]
            reason = said[-1].strip() if said else f"ended by signal {-done.returncode}"
            raise ArtifactError(f"{artifact}: {path.name} cannot be run: {reason[:LONGEST]}")
        with np.load(out) as found:
            return dict(found)
