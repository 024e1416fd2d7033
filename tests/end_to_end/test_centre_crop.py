"""Photographs of many sizes, randomly cropped and mixed in training: everything after it sees the same centre."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import hmnas_tf
from hmnas_tf import command_line
from hmnas_tf.data.image_files import read_image
from hmnas_tf.data.resizing import fit
from hmnas_tf.reporting.loading import loading
from hmnas_tf.runs.use import predictions
from hmnas_tf.runtimes import keras_file, onnx_file, saved_model_folder

pytestmark = pytest.mark.slow
SIZE, RESIZED = 14, 16


class Killed(Exception):
    """Stands for a machine that goes down."""


RECIPE = ("random_resized_crop", "flip", "color_jitter", "mixup", "cutmix")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """40 training and 12 test pictures in three classes, each of a size of its own, with a pattern under noise."""
    root, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    patterns = random.uniform(0, 255, (3, 6, 6, 3))
    for side, count in (("train", 40), ("test", 12)):
        for number in range(count):
            height, width = random.integers(15, 40, 2)
            pattern = tf.image.resize(patterns[number % 3], (height, width)).numpy()
            noisy = 0.7 * pattern + random.normal(40, 30, pattern.shape)
            folder = root / side / f"class {number % 3}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(folder / f"{number:03}.png")
    return root


@pytest.fixture(scope="module")
def config(make_config, pictures):
    return make_config(
        dataset=f"folder:{pictures}",
        image_size=SIZE,
        augmentation=RECIPE,
        batch_size=8,
        finetune_batch_size=8,
        supernet_epochs=2,
        mask_epochs=1,
        formats=("saved_model", "onnx"),
        quantize=("none",),
    )


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
    return hmnas_tf.search(command_line.images(config), config, tmp_path_factory.mktemp("centre") / "run")


def test_training_images_have_a_border_that_test_images_have_not(config):
    dataset = command_line.images(config)
    assert dataset.x_train.shape == (40, RESIZED, RESIZED, 3)
    assert dataset.x_test.shape == (12, SIZE, SIZE, 3)
    assert dataset.image_shape == (SIZE, SIZE, 3)
    assert dataset.describe()["resized"] == RESIZED


def test_every_artifact_says_how_pictures_are_cut(finished):
    written = finished.results["artifacts"]
    runtimes = {"keras_folded": keras_file, "saved_model": saved_model_folder, "onnx": onnx_file}
    assert set(runtimes) <= set(written)
    for name, runtime in runtimes.items():
        labelling = json.loads(runtime.load(str(finished.workdir / written[name]["path"])).labelling)
        assert (labelling["resized"], labelling["image_shape"]) == (RESIZED, [SIZE, SIZE, 3]), name


def test_predict_and_the_servable_see_the_pixels_that_were_measured(finished, config):
    dataset = command_line.images(config)
    root = config.dataset.removeprefix("folder:")
    files = sorted((command_line.path_of(root) / "test").glob("*/*.png"))
    measured = {image.tobytes() for image in dataset.x_test}
    assert {
        fit(tf.constant(read_image(file, 3)), SIZE, SIZE, RESIZED).numpy().tobytes() for file in files
    } == measured
    found = dict(predictions(finished.workdir, finished.results, files))
    wrong = [max(found[file], key=found[file].get) != file.parent.name for file in files]
    error = finished.results["artifacts"]["keras_folded"]["test_error"]
    assert 100 * np.mean(wrong) == pytest.approx(error, abs=0.01)
    servable = saved_model_folder.load(
        str(finished.workdir / finished.results["artifacts"]["saved_model"]["path"])
    )
    answers = servable.run("serving_bytes", image_bytes=[file.read_bytes() for file in files])
    for file, probabilities in zip(files, answers["probabilities"], strict=True):
        np.testing.assert_allclose(probabilities, list(found[file].values()), atol=1e-5)


def test_the_model_card_cuts_pictures_in_the_same_way(finished, config, tmp_path, monkeypatch):
    text = re.search(r"```python\n(.*?)```", loading(finished.results), re.DOTALL)[1]
    root = command_line.path_of(config.dataset.removeprefix("folder:"))
    file = next((root / "test").glob("*/*.png"))
    shutil.copy(file, tmp_path / "picture.png")
    monkeypatch.chdir(tmp_path)
    made: dict = {}
    exec(text, made)  # a test of a document: its own words
    expected = fit(tf.constant(read_image(file, 3)), SIZE, SIZE, RESIZED).numpy()
    assert np.abs(made["pixels"][0].astype(int) - expected).max() <= 6


def test_killed_and_continued_it_is_bit_for_bit_the_same(finished, config, tmp_path):
    def say(line: str) -> None:
        if line.startswith("fine-tuning       epoch   1/2"):
            raise Killed

    with pytest.raises(Killed):
        hmnas_tf.search(command_line.images(config), config, tmp_path / "run", say=say)
    again = hmnas_tf.search(command_line.images(config), config, tmp_path / "run")
    for one, two in zip(again.model.get_weights(), finished.model.get_weights(), strict=True):
        assert one.tobytes() == two.tobytes()
    rows = [
        [line.rsplit(",", 1)[0] for line in (run.workdir / "metrics.csv").read_text().splitlines()]
        for run in (again, finished)
    ]
    assert rows[0] == rows[1]
    assert len(rows[0]) == 1 + 2 + 1 + 2


def test_other_images_than_those_of_the_run_are_refused(finished, config):
    plain = hmnas_tf.load_dataset(config.dataset, image_size=SIZE)
    assert plain.x_train.shape[1:] == plain.x_test.shape[1:] == (SIZE, SIZE, 3)
    with pytest.raises(ValueError, match="other images"):
        hmnas_tf.search(plain, config, finished.workdir)
