"""The report of a run, from what its folder holds and what its network makes of the test images."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from hmnas_tf.config import Config
from hmnas_tf.data import ImageDataset
from hmnas_tf.data.augmentation import normalise
from hmnas_tf.derivation.rules import READ_MASKS
from hmnas_tf.exporters.formats import EXPORTERS
from hmnas_tf.reporting.artifacts import FILES
from hmnas_tf.reporting.facts import Facts, Progress
from hmnas_tf.reporting.judgement import Judgement
from hmnas_tf.reporting.model_card import card
from hmnas_tf.reporting.page import page
from hmnas_tf.reporting.sizes import FOLDER, TABLE
from hmnas_tf.runs.preflight import topology_of
from hmnas_tf.runs.publication import artifact_path
from hmnas_tf.runs.run import TITLES, Run
from hmnas_tf.runtimes import keras_file
from hmnas_tf.runtimes.__main__ import BATCH
from hmnas_tf.space.genotype import Genotype
from hmnas_tf.stages.architecture_history import read_history
from hmnas_tf.stages.telemetry import read_rows
from hmnas_tf.storage import atomic
from hmnas_tf.storage.run_folder import RunFolder


def report(run: Run, logits: np.ndarray) -> None:
    """Writes the report of a run that has just been published.

    Args:
        run: the run.
        logits: of its test images, [N, classes].
    """
    data = run.dataset
    try:
        judgement = Judgement.of(data.x_test, data.y_test, [logits], data.num_classes)
        path = write_report(run.folder, run.config, judgement)
    except Exception as error:  # the run is whole without it: hours of training must not end in a traceback
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        run.warn([f"the report was not written ({reason}): python -m hmnas_tf.report writes it."])
    else:
        run.say(f"report: {path}")


def write_report(
    folder: RunFolder, config: Config, judgement: Judgement | None, *, unjudged: str = ""
) -> Path:
    """Writes `report.html`, of a finished run or of one in progress, which it does not disturb; of a finished one the
    model card, too.

    Args:
        folder: of the run.
        config: its settings.
        judgement: what its network makes of the test images; None if they were not shown to it.
        unjudged: why not, in a sentence; "" while there is no network.

    Returns:
        The path of the report.

    Raises:
        ValueError: if a file of the run folder cannot be read.
        OSError: if the folder cannot be written.
    """
    facts = collect(folder, config, judgement, unjudged)
    atomic.write_text(folder.report, page(facts))
    if facts.finished:
        atomic.write_text(folder.card, card(facts))
    return folder.report


def collect(folder: RunFolder, config: Config, judgement: Judgement | None, unjudged: str) -> Facts:
    """Returns what is known of a run; see `write_report`."""
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
        shown_by={name: exporter.shown_by for name, exporter in EXPORTERS.items() if exporter.shown_by},
        files=[name for name in FILES if (folder.path / name).exists()],
        sizes=read_rows(folder.path / FOLDER / TABLE, "epochs"),
        judgement=judgement,
        unjudged=unjudged,
        written=datetime.now(UTC),
        trained=datetime.fromtimestamp(folder.metrics.stat().st_mtime, UTC) if rows else None,
    )


def progress(folder: RunFolder, config: Config, rows: list[dict[str, str]]) -> list[Progress]:
    """Returns how far each stage of a run has come."""
    planned = {"finetuned": config.finetune_epochs}
    if config.searches:
        masks = config.mask_epochs if config.derivation in READ_MASKS else 0
        planned = {"supernet": config.supernet_epochs, "searched": masks} | planned
    epochs = {key: sum(row["stage"] == TITLES[key] for row in rows) for key in planned}
    done = folder.results["stages"]
    return [Progress(key, TITLES[key], epochs[key], count, key in done) for key, count in planned.items()]


def judge(folder: RunFolder, dataset: ImageDataset) -> Judgement:
    """Returns what the folded `.keras` file of a finished run makes of the run's test images.

    Raises:
        ValueError: if the data are others than the run's, or the file is missing or was changed.
    """
    folder.refuse_other_data(dataset.describe())
    network = keras_file.load(artifact_path(folder.path, folder.results, "keras_folded"))
    labelling = json.loads(network.labelling)
    parts = (dataset.x_test[start : start + BATCH] for start in range(0, len(dataset.x_test), BATCH))
    logits = (network.predict(normalise(part, labelling["mean"], labelling["std"]).numpy()) for part in parts)
    return Judgement.of(dataset.x_test, dataset.y_test, logits, dataset.num_classes)
