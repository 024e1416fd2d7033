"""A Python program's own arrays, odd in every way, from `search` to all artifacts."""

from __future__ import annotations

import dataclasses
import json
import time

import numpy as np
import pytest
import tensorflow as tf

import hmnas_tf
from hmnas_tf import command_line
from hmnas_tf.commands import recorded
from hmnas_tf.console.progress import Progress
from hmnas_tf.exporters.formats import EXPORTERS
from hmnas_tf.runs.use import evaluations, predictions
from hmnas_tf.runtimes import keras_file
from hmnas_tf.storage.run_folder import RunFolder

pytestmark = pytest.mark.slow
NAMES = ("Ärger & Spaß", "два слова", "犬")


@pytest.fixture(scope="module")
def pair():
    """Three patterns under noise, 13 x 17 x 2, as floats in 0..1: (images, labels) for training and for testing."""
    drawn = np.random.default_rng(0).uniform(0, 0.8, (3, 13, 17, 2))

    def noisy(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(count) % 3
        noise = np.random.default_rng(count).uniform(0, 0.2, (count, 13, 17, 2))
        return (drawn[labels] + noise).astype(np.float32), labels

    return noisy(60), noisy(21)


@pytest.fixture(scope="module")
def finished(pair, make_config, tmp_path_factory):
    config = make_config(
        supernet_epochs=2,
        mask_epochs=1,
        finetune_epochs=1,
        augmentation=("auto",),
        formats=("saved_model", "onnx", "litert"),
    )
    lines: list[str] = []
    dataset = hmnas_tf.dataset_from(pair, NAMES, name="odd")
    folder = tmp_path_factory.mktemp("own") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress.__init__, "__defaults__", (0.0, time.monotonic))  # short work is told as well
        result = hmnas_tf.search(dataset, config, folder, say=lines.append)
    return result, dataset, config, lines


def test_every_artifact_holds_the_names_of_the_classes(finished):
    result, dataset, _, _ = finished
    assert result.model.input_shape == (None, 13, 17, 2)
    assert result.results["dataset"]["class_names"] == list(NAMES)
    assert result.results["dataset"] == dataset.describe()
    written = result.results["artifacts"]
    assert {"keras", "keras_folded", "saved_model", "onnx", "litert"} <= set(written) <= set(EXPORTERS)
    folded = keras_file.load(result.workdir / written["keras_folded"]["path"])
    assert json.loads(folded.labelling)["class_names"] == list(NAMES)
    # `measure` refuses an artifact with another labelling than the dataset's.
    config = dataclasses.replace(finished[2], dataset=dataset.name)
    outcomes = dict(evaluations(RunFolder(result.workdir, config), dataset))
    assert set(outcomes) == set(written)
    assert all(outcome["test_error"] == written[name]["test_error"] for name, outcome in outcomes.items())
    renamed = dataclasses.replace(dataset, class_names=("a", "b", "c"))
    with pytest.raises(ValueError, match="class_names"):
        list(evaluations(RunFolder(result.workdir, config), renamed))


def test_the_epochs_tell_the_time_left(finished):
    lines = [line for line in finished[3] if "epoch   1/2" in line]
    assert len(lines) == 1
    assert lines[0].endswith(" left")


def test_export_and_evaluation_tell_how_far_they_are(finished):
    starts = [line.split(" done")[0] for line in finished[3]]
    count = len(finished[0].results["artifacts"])
    assert f"export: {count - 1} of {count} ({100 * (count - 1) // count} %)" in starts
    assert any(line.startswith("export: 1 of ") and "now keras_folded" in line for line in finished[3])
    assert "evaluation: 1 of 2 (50 %)" in starts
    assert any(line.startswith("batch statistics: 1 of 3 ") for line in starts)


def test_the_progress_of_evaluate_and_predict_stays_out_of_their_results(capsys):
    command_line.aside("evaluate: 1 of 2 (50 %) done")
    assert tuple(capsys.readouterr()) == ("", "evaluate: 1 of 2 (50 %) done\n")


def test_the_finished_run_is_read_again_also_from_pipelines(finished, pair):
    result, _, config, _ = finished
    pipelines = tuple(tf.data.Dataset.from_tensor_slices(part) for part in pair)
    again = hmnas_tf.search(hmnas_tf.dataset_from(pipelines, NAMES, name="odd"), config, result.workdir)
    assert again.results == result.results
    with pytest.raises(ValueError, match="other flags .*dataset was 'memory:odd', now 'memory:arrays'"):
        hmnas_tf.search(pair, config, result.workdir)


def test_commands_say_why_they_cannot_load_the_images(finished, tmp_path):
    with pytest.raises(ValueError, match="'memory:odd' were given by a Python program"):
        recorded.opened(finished[0].workdir)
    with pytest.raises(ValueError, match="images of 2 channels"):
        list(predictions(finished[0].workdir, finished[0].results, [tmp_path / "any.png"]))


def test_flags_about_data_hold_for_arrays_too(pair, make_config, tmp_path):
    config = make_config(image_size=8, train_examples=30, batch_size=40)
    with pytest.raises(ValueError, match="batch_size=40 is more than the 24 images"):
        hmnas_tf.search(pair, config, tmp_path / "run")
