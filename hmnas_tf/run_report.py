"""The report of a run, from what its folder holds and what its network makes of the test images."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import tensorflow as tf

from hmnas_tf import atomic
from hmnas_tf.config import Config
from hmnas_tf.data import ImageDataset
from hmnas_tf.data.augmentation import normalise
from hmnas_tf.exporters.formats import EXPORTERS
from hmnas_tf.preflight import topology_of
from hmnas_tf.publication import artifact_path
from hmnas_tf.reporting.artifacts import FILES
from hmnas_tf.reporting.facts import Facts, Progress
from hmnas_tf.reporting.judgement import Judgement
from hmnas_tf.reporting.page import page
from hmnas_tf.run import TITLES, Run
from hmnas_tf.run_folder import RunFolder
from hmnas_tf.runtimes import keras_file
from hmnas_tf.runtimes.__main__ import BATCH
from hmnas_tf.space.genotype import Genotype
from hmnas_tf.stages.architecture_history import read_history
from hmnas_tf.stages.telemetry import read_rows


def report(run: Run) -> None:
    """Writes the report of a run that has just been published."""
    try:
        path = write_report(run.folder, run.config, run.dataset)
    except Exception as error:  # the run is whole without it, and hours of training are not to end in a traceback
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        run.warn([f"the report was not written ({reason}): python -m hmnas_tf.report writes it."])
    else:
        run.say(f"report: {path}")


def write_report(
    folder: RunFolder, config: Config, dataset: ImageDataset | None, *, missing: str = ""
) -> Path:
    """Writes `report.html`, of a finished run or of one in progress, which it does not disturb.

    Args:
        folder: of the run.
        config: its settings.
        dataset: its images; None if they cannot be read.
        missing: why not.

    Returns:
        The path of the file.

    Raises:
        ValueError: if a file of the run folder cannot be read.
        OSError: if the folder cannot be written.
    """
    atomic.write_text(folder.report, page(collect(folder, config, dataset, missing=missing)))
    return folder.report


def collect(folder: RunFolder, config: Config, dataset: ImageDataset | None, *, missing: str = "") -> Facts:
    """Returns what is known of a run; see `write_report`."""
    judgement, unjudged = None, ""
    if folder.finished():
        if dataset is None:
            unjudged = f"The test images could not be read again, so mistakes are not shown: {missing}"
        else:
            try:
                judgement = judge(artifact_path(folder.path, folder.results, "keras_folded"), dataset)
            except ValueError as error:
                unjudged = f"The network could not be read again, so mistakes are not shown: {error}"
    rows = read_rows(folder.metrics)
    genotype = None
    if folder.genotype.exists():
        genotype = Genotype.loads(folder.genotype.read_text(encoding="utf-8"))
    return Facts(
        workdir=folder.path,
        config=config,
        results=folder.results,
        progress=progress(folder, config, rows),
        rows=rows,
        history=read_history(folder.architecture),
        topology=topology_of(config),
        genotype=genotype,
        purposes={name: exporter.purpose for name, exporter in EXPORTERS.items()},
        files=[name for name in FILES if (folder.path / name).exists()],
        judgement=judgement,
        unjudged=unjudged,
        written=datetime.now(UTC),
        trained=datetime.fromtimestamp(folder.metrics.stat().st_mtime, UTC) if rows else None,
    )


def progress(folder: RunFolder, config: Config, rows: list[dict[str, str]]) -> list[Progress]:
    """Returns how far each stage of a run has come."""
    planned = {"finetuned": config.finetune_epochs}
    if config.searches:
        masks = config.mask_epochs if config.derivation == "masks" else 0
        planned = {"supernet": config.supernet_epochs, "searched": masks} | planned
    epochs = {key: sum(row["stage"] == TITLES[key] for row in rows) for key in planned}
    done = folder.results["stages"]
    return [Progress(key, TITLES[key], epochs[key], count, key in done) for key, count in planned.items()]


def judge(path: Path, dataset: ImageDataset) -> Judgement:
    """Returns what a `.keras` file makes of the test images; only of the likeliest class is anything kept."""
    network = keras_file.load(path)
    labelling = json.loads(network.labelling)
    predicted, probabilities = [], []
    for start in range(0, len(dataset.x_test), BATCH):
        images = normalise(dataset.x_test[start : start + BATCH], labelling["mean"], labelling["std"]).numpy()
        of_classes = tf.nn.softmax(network.predict(images)).numpy()
        predicted.append(of_classes.argmax(axis=1))
        probabilities.append(of_classes.max(axis=1))
    return Judgement(
        dataset.x_test,
        dataset.y_test,
        np.concatenate(predicted),
        np.concatenate(probabilities),
        dataset.num_classes,
    )
