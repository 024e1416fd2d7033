"""Teachers of others and of this project see the images that they know; those that do not fit are one line."""

from __future__ import annotations

import re
import zipfile

import keras
import numpy as np
import pytest

from hmnas_tf.data import ImageDataset
from hmnas_tf.data.augmentation import normalise
from hmnas_tf.exporters.contract import labelling_of
from hmnas_tf.runs.teaching import load_teacher
from hmnas_tf.runtimes.archive import LABELLING

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.integers(0, 256, (40, 6, 5, 2)).astype(np.uint8), np.arange(40) % 3
DATASET = ImageDataset("toy", "1", X, Y, X, Y, ("ant", "bee", "cat"), ())
OTHER = ImageDataset("toy", "1", X[:9], Y[:9], X, Y, ("ant", "bee", "cat"), ())  # another mean and deviation


def network(shape=(6, 5, 2), classes: int = 3, activation=None) -> keras.Model:
    keras.utils.set_random_seed(0)
    image = keras.Input(shape)
    features = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, activation="relu")(image))
    return keras.Model(image, keras.layers.Dense(classes, activation=activation)(features))


def saved(path, model: keras.Model, labelling: str = "") -> str:
    model.save(path)
    if labelling:
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(LABELLING, labelling)
    return str(path)


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_a_network_of_others_sees_pixels_and_may_give_probabilities(activation, tmp_path):
    path = saved(tmp_path / "teacher.keras", network(activation=activation))
    teacher = load_teacher(path, DATASET)
    assert not teacher.trainable_variables
    normalised = normalise(X, DATASET.mean, DATASET.std)
    found = keras.ops.softmax(teacher(normalised, training=False))
    expected = network(activation="softmax")(X.astype(np.float32))
    assert np.asarray(found) == pytest.approx(np.asarray(expected), rel=1e-3, abs=1e-4)


def test_a_network_of_this_project_sees_images_as_its_own_labelling_says(tmp_path):
    path = saved(tmp_path / "teacher.keras", network(), labelling_of(OTHER).to_json())
    teacher = load_teacher(path, DATASET)
    found = teacher(normalise(X, DATASET.mean, DATASET.std), training=False)
    expected = network()(normalise(X, OTHER.mean, OTHER.std))
    assert np.asarray(found) == pytest.approx(np.asarray(expected), rel=1e-3, abs=1e-4)


def test_any_size_and_no_size_fit(tmp_path):
    assert load_teacher(saved(tmp_path / "teacher.keras", network((None, None, 2))), DATASET)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (
            lambda p: saved(p, network((8, 5, 2))),
            "has images of the shape [(None, 8, 5, 2)], but those of this run",
        ),
        (lambda p: saved(p, network((6, 5, 1))), "has images of the shape"),
        (
            lambda p: saved(p, network(classes=4)),
            "has classes of the shape [(None, 4)], but those of this run have",
        ),
        (
            lambda p: saved(p, network(), labelling_of(OTHER).to_json().replace("ant", "owl")),
            "knows the classes ['owl', 'bee', 'cat'], in this order, but the images ['ant', 'bee', 'cat']",
        ),
        (lambda p: str(p), "cannot be loaded (ValueError"),
        (lambda p: p.write_bytes(b"no archive") and str(p), "cannot be loaded"),
    ],
    ids=["size", "channels", "classes", "names", "missing", "damaged"],
)
def test_what_does_not_fit_is_one_line(build, words, tmp_path):
    path = build(tmp_path / "teacher.keras")
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        load_teacher(path, DATASET)
    assert "\n" not in str(caught.value)
    assert f"teacher={path!r}" in str(caught.value)
