"""How long networks take in the runtime that will be used: written as they are exported, timed in a clean process."""

from __future__ import annotations

import importlib.metadata
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np

from hmnas_tf.console.progress import Say, silent, watched
from hmnas_tf.exporters import clean_process
from hmnas_tf.exporters.contract import Cargo, Labelling
from hmnas_tf.exporters.formats import EXPORTERS

LATENCY_RUNTIMES = {  # the artifact that each of them runs on one image, and the packages that have the runtime
    "litert": ("litert", ("ai-edge-litert", "tensorflow")),
    "onnx": ("onnx_mobile", ("onnxruntime",)),
}


def artifact_for(runtime: str) -> str:
    """Returns the artifact, a key of `EXPORTERS`, whose time is that of a runtime, a key of `LATENCY_RUNTIMES`."""
    return LATENCY_RUNTIMES[runtime][0]


def version_of(runtime: str) -> str:
    """Returns which package runs the artifact of a runtime, and its version."""
    for package in LATENCY_RUNTIMES[runtime][1]:
        try:
            return f"{package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return "unknown"


def time_models(
    runtime: str, models: Mapping[str, Callable[[], keras.Model]], say: Say = silent
) -> dict[str, np.ndarray]:
    """Returns the milliseconds of networks on one image and one thread.

    Args:
        runtime: key of `LATENCY_RUNTIMES`.
        models: make the folded networks; each has one input, and one output [None, classes].
        say: shows how far it is.

    Returns:
        Of each network a number a round, [rounds], under its name.

    Raises:
        ArtifactError: if one cannot be run.
    """
    exporter = EXPORTERS[artifact_for(runtime)]
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for number, name in enumerate(watched(list(models), say, f"timing {runtime}")):
            model = models[name]()
            path = Path(folder, f"{number}{Path(exporter.file_name).suffix}")
            exporter.write(
                Cargo(model, _labelling(model), "{}", _no_images(model)), path, lambda written: None
            )
            files[path.name] = name
        seconds = clean_process.timed(exporter.runtime, Path(folder))
    return {name: 1e3 * seconds[file] for file, name in files.items()}


def time_file(runtime: str, path: Path) -> np.ndarray:
    """Returns the milliseconds of an artifact of a runtime on one image and one thread, a number a round, [rounds].

    Raises:
        ArtifactError: if it cannot be run.
    """
    with tempfile.TemporaryDirectory() as folder:
        os.symlink(path.absolute(), Path(folder, path.name))
        return 1e3 * clean_process.timed(EXPORTERS[artifact_for(runtime)].runtime, Path(folder))[path.name]


def _labelling(model: keras.Model) -> Labelling:
    shape = model.inputs[0].shape[1:]
    plain = tuple(f"class{number}" for number in range(model.outputs[0].shape[-1]))
    return Labelling(plain, (0.0,) * shape[-1], (1.0,) * shape[-1], shape)


def _no_images(model: keras.Model) -> np.ndarray:
    return np.zeros((0, *model.inputs[0].shape[1:]), np.uint8)
