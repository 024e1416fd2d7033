"""The last step of a run: artifacts, the numbers of the derived network, the final table."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from hmnas_tf.console.progress import Say
from hmnas_tf.data import ImageDataset
from hmnas_tf.data.centre import as_evaluated
from hmnas_tf.derivation.fold import fold
from hmnas_tf.derivation.pad import pad
from hmnas_tf.exporters import artifacts
from hmnas_tf.exporters.contract import labelling_of
from hmnas_tf.exporters.formats import artifacts_of, missing_requirements, require_suitable
from hmnas_tf.networks import counting
from hmnas_tf.reporting.results_table import stages_table
from hmnas_tf.runs.board import write_hyperparameters
from hmnas_tf.runs.latency import time_exported
from hmnas_tf.runs.run import Run
from hmnas_tf.space.genotype import Genotype
from hmnas_tf.storage.possession import held
from hmnas_tf.storage.run_folder import RunFolder


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        model: the fine-tuned derived network of stock Keras layers, float32; normalised images to logits.
        genotype: its architecture.
        results: the content of `results.json`.
        workdir: the run folder.
    """

    model: keras.Model
    genotype: Genotype
    results: dict[str, Any]
    workdir: Path


def publish(run: Run, model: keras.Model) -> np.ndarray:
    """Writes the network in all formats, each compared in its own runtime, closes the run and shows its results.

    Args:
        run: whose stages are finished.
        model: the fine-tuned derived network, float32.

    Returns:
        Its logits of the test images, float32 [N, classes], which all artifacts share.

    Raises:
        ArtifactError: if an artifact does not compute what the model computes; it is not published then.
    """
    config = run.config
    write_hyperparameters(run.folder.tensorboard, config, run.folder.results)
    network = network_of(run.folder, run.dataset, model)
    names = artifacts_of(["keras", *config.formats], config.quantize)
    logits = network.logits(run.dataset.x_test)
    with run.spent.on("writing and checking the files"):
        written = _export(run.folder, run.dataset, network, names, run.say, logits)
    final = run.folder.results["stages"]["finetuned"]
    derived = {
        "params_dense": final["params"],
        "params_nonzero": final["params_nonzero"],
        "flops": final["flops"],
        **_genotype(run.folder).count(),
        "folded": counting.size_of(network.folded),
    }
    if config.max_latency_ms:
        time_exported(run, written)
    run.folder.update(derived=derived, artifacts=written)
    run.say(stages_table(run.folder.results))
    folded = derived["folded"]
    run.say(
        f"folded for inference: {folded['params']:,} parameters, {folded['params_nonzero']:,} of them not 0, "
        f"{folded['flops']:,} multiply-adds"
    )
    run.say(f"this start took {run.spent.words('building networks and measuring them')}")
    return logits


def export(
    folder: RunFolder,
    dataset: ImageDataset,
    formats: Sequence[str],
    quantize: Sequence[str],
    say: Say,
) -> None:
    """Exports the network of a finished run once more, in other formats or in the same.

    Args:
        folder: of the run; its `results.json` gets the new artifacts, those of other formats stay in it.
        dataset: what the run was made on.
        formats: keys of `exporters.formats.FORMATS`.
        quantize: see `formats.artifacts_of`.
        say: shows a line to the user.

    Raises:
        ValueError: if the run is not finished or in use, its data are others, or its `.keras` file is not what it was.
        ImportError: when a package is missing.
        ArtifactError: if an artifact does not compute what the model computes; it is not published then.
    """
    names = artifacts_of(formats, quantize)
    require_suitable(names, labelling_of(dataset))
    for message in missing_requirements(names):
        raise ImportError(message)
    folder.refuse_other_data(dataset.describe())
    path = artifact_path(folder.path, folder.results, "keras")
    network = network_of(folder, dataset, keras.models.load_model(path, compile=False))
    with held(folder.path):
        written = _export(folder, dataset, network, names, say)
        derived = folder.results.get("derived", {}) | {"folded": counting.size_of(network.folded)}
        folder.update(derived=derived, artifacts=folder.results["artifacts"] | written)


def exported(workdir: Path, results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns the artifacts of a run as `results.json` has them.

    Raises:
        ValueError: if the run is not finished.
    """
    if not results.get("artifacts"):
        raise ValueError(
            f"workdir {str(workdir)!r} holds no finished run: run hmnas_tf.search with this --workdir first."
        )
    return results["artifacts"]


def artifact_path(workdir: Path, results: dict[str, Any], artifact: str) -> Path:
    """Returns where an artifact of a run lies, as it was when it was exported.

    Args:
        workdir: the run folder.
        results: content of its `results.json`.
        artifact: key of `exporters.formats.EXPORTERS`.

    Raises:
        ValueError: if the run has not exported it, it is missing, or it was changed since.
    """
    found = exported(workdir, results)
    if artifact not in found:
        raise ValueError(
            f"{artifact} was not exported in {str(workdir)!r}, which has {', '.join(found)}: run hmnas_tf.export."
        )
    path = workdir / found[artifact]["path"]
    if not path.exists():
        raise ValueError(f"{artifact}: {path} is missing: restore it, or export it again.")
    recorded = found[artifact].get("sha256")  # the first versions recorded none
    if recorded and artifacts.digest(path) != recorded:
        raise ValueError(
            f"{artifact}: {path} is not what was exported, its SHA-256 differs: restore it, or export it again."
        )
    return path


def reread(folder: RunFolder, say: Say) -> SearchResult:
    """Returns the result of a finished run from its folder, which it does not change and needs no checkpoints of."""
    say(f"{folder.path} holds a finished run; nothing was changed.")
    say(stages_table(folder.results))
    path = artifact_path(folder.path, folder.results, "keras")
    model = keras.models.load_model(path, compile=False)
    return SearchResult(model, _genotype(folder), folder.results, folder.path)


def _genotype(folder: RunFolder) -> Genotype:
    return Genotype.loads(folder.genotype.read_text(encoding="utf-8"))


def network_of(folder: RunFolder, dataset: ImageDataset, model: keras.Model) -> artifacts.Network:
    """Returns a run's network with all that its artifacts are made of.

    Args:
        folder: of the run, with its genotype.
        dataset: whose training images give the ranges of 8 bits.
        model: derived, float32.
    """
    chosen = np.linspace(0, len(dataset.x_train) - 1, artifacts.CALIBRATION_IMAGES).astype(int)
    folded = fold(model)
    return artifacts.Network(
        trainable=model,
        folded=folded,
        padded=pad(folded),
        labelling=labelling_of(dataset),
        genotype=folder.genotype.read_text(encoding="utf-8"),
        calibration=as_evaluated(dataset, np.unique(chosen)),
    )


def _export(
    folder: RunFolder,
    dataset: ImageDataset,
    network: artifacts.Network,
    names: Sequence[str],
    say: Say,
    logits: np.ndarray | None = None,
) -> dict[str, dict[str, Any]]:
    say(f"export: {', '.join(names)}; each is run on the {len(dataset.x_test):,} test images and compared")
    return artifacts.export_all(network, folder.model, names, dataset.x_test, dataset.y_test, say, logits)
