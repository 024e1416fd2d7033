"""Arrays and pipelines of a Python program: what becomes of them, and what is refused."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import hmnas_tf
from hmnas_tf.data import dataset_from, load_dataset
from hmnas_tf.data import memory as memory_module

RNG = np.random.default_rng(5)
PIXELS = RNG.integers(0, 256, (16, 7, 5, 3)).astype(np.uint8)
LABELS = np.arange(16) % 3


def pair(images: np.ndarray = PIXELS, labels=LABELS, test_images=None, test_labels=None):
    """12 training and 4 test images; the test ones may be given apart."""
    return (
        (images[:12], labels[:12]),
        (
            images[12:] if test_images is None else test_images,
            labels[12:] if test_labels is None else test_labels,
        ),
    )


def pipelines(images=PIXELS, labels=LABELS, batch: int = 0):
    """The same as two `tf.data.Dataset`."""
    both = [tf.data.Dataset.from_tensor_slices(part) for part in pair(images, labels)]
    return tuple(part.batch(batch) if batch else part for part in both)


def assert_same(dataset, images=PIXELS):
    assert np.array_equal(dataset.x_train, images[:12])
    assert np.array_equal(dataset.x_test, images[12:])
    assert dataset.y_train.tolist() == LABELS[:12].tolist()
    assert dataset.y_test.tolist() == LABELS[12:].tolist()


def test_arrays_as_keras_datasets_return_them():
    dataset = dataset_from(pair(labels=LABELS[:, None].astype(np.uint8)))
    assert_same(dataset)
    assert (dataset.name, dataset.class_names) == ("memory:arrays", ("0", "1", "2"))
    assert dataset.version == dataset_from(pair(labels=LABELS[:, None].astype(np.uint8))).version
    assert dataset.version.startswith("sha256:")
    assert dataset.version != dataset_from(pair(255 - PIXELS, LABELS[:, None].astype(np.uint8))).version


def test_a_dataset_stays_what_it_is():
    dataset = dataset_from(pair())
    assert dataset_from(dataset) is dataset


@pytest.mark.parametrize(
    "images",
    [
        PIXELS / 255,
        (PIXELS / 255).astype(np.float32) * (1 + 1e-6) - 1e-6,
        PIXELS * (1 + 1e-6),
        PIXELS.astype(np.float32),
        tf.constant(PIXELS),
    ],
    ids=["0..1", "a little outside", "a little more than 255", "0..255", "tensor"],
)
def test_images_of_any_kind(images):
    assert_same(dataset_from(pair(images)))


def test_lists_and_grey_images_and_sizes():
    grey = PIXELS[..., 0]
    dataset = dataset_from([[list(grey[:12]), LABELS[:12].tolist()], (grey[12:], LABELS[12:])])
    assert_same(dataset, grey[..., None])
    assert dataset_from(pair(), image_size=4).image_shape == (4, 4, 3)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_other_numbers_of_channels(channels):
    images = RNG.integers(0, 256, (16, 13, 17, channels)).astype(np.uint8)
    dataset = dataset_from(pair(images))
    assert dataset.image_shape == (13, 17, channels)
    assert len(dataset.mean) == len(dataset.std) == channels
    assert dataset_from(pair(images), image_size=8).image_shape == (8, 8, channels)


@pytest.mark.parametrize("kind", ["U", "S", "O"])
def test_strings_are_labels_too(kind):
    words = np.array(["katze", "äffchen", "hund"])[LABELS]
    words = np.char.encode(words, "utf-8") if kind == "S" else words.astype(kind)
    dataset = dataset_from(pair(labels=words))
    assert dataset.class_names == ("hund", "katze", "äffchen")
    assert [dataset.class_names[label] for label in dataset.y_train[:3]] == ["katze", "äffchen", "hund"]
    assert_same(dataset_from(pair(labels=words), class_names=["katze", "äffchen", "hund"]))


@pytest.mark.parametrize("batch", [0, 5])
def test_pipelines_with_and_without_batches(batch):
    assert_same(dataset_from(pipelines(batch=batch)))
    assert_same(dataset_from(pipelines(PIXELS.astype(np.float32), batch=batch)))
    grey = PIXELS[..., 0]
    assert_same(
        dataset_from(pipelines(grey, LABELS[:, None] if not batch else LABELS, batch)), grey[..., None]
    )
    narrow = grey[..., :3]  # as wide as images have channels
    assert_same(dataset_from(pipelines(narrow, batch=batch)), narrow[..., None])
    named = [
        part.map(lambda image, label: {"image": image, "label": label, "id": 7})
        for part in pipelines(batch=batch)
    ]
    assert_same(dataset_from(named))


def test_a_pipeline_of_strings_names_its_classes():
    dataset = dataset_from(pipelines(labels=np.array(["ant", "bee", "cat"])[LABELS]))
    assert dataset.class_names == ("ant", "bee", "cat")
    assert_same(dataset)


def test_names_come_from_the_pipeline_or_the_call():
    train, test = pipelines()
    train.class_names = ["ant", "bee", "cat"]  # as image_dataset_from_directory does
    assert dataset_from((train, test)).class_names == ("ant", "bee", "cat")
    assert dataset_from((train, test), class_names=["x", "y", "z"], name="mine").class_names == (
        "x",
        "y",
        "z",
    )


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["ant", "cat"], "label 1 is 'bee' in the training pipeline but 'cat' in"),
        (["ant", "bee"], "label 2 is 'cat' in the training pipeline but None in"),
        (["ant", "cat", "bee"], "label 1 is 'bee'.*give both the same class_names"),
    ],
)
def test_pipelines_that_number_their_classes_differently_are_refused(names, words):
    train, test = pipelines()
    train.class_names, test.class_names = ["ant", "bee", "cat"], names
    with pytest.raises(ValueError, match=words):
        dataset_from((train, test))
    test.class_names = ("ant", "bee", "cat")
    assert dataset_from((train, test)).class_names == ("ant", "bee", "cat")


def test_a_dark_batch_is_of_the_scale_of_those_before():
    images = PIXELS.astype(np.float32)
    images[8:10] = 1.0
    dataset = dataset_from(pipelines(images, batch=2))
    assert np.array_equal(dataset.x_train, images[:12])


def test_a_pipeline_of_unknown_length_is_read_to_its_end():
    train, test = (part.filter(lambda image, label: True) for part in pipelines())
    assert int(train.cardinality()) < 0
    assert_same(dataset_from((train, test)))


FLOATS = PIXELS / 255
ONE_HOT = np.eye(3, dtype=np.float32)[LABELS]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (PIXELS, r"expected \(\(x_train, y_train\), .* got a ndarray; give a training and a test set"),
        (pipelines()[0], "expected .* give a training and a test set"),
        ((PIXELS, LABELS), "expected .* x_train; give a pair of images and labels"),
        ((*pair(), pair()[1]), "got 3 items"),
        (pair(labels=ONE_HOT), r"arrays: y_train must be whole numbers .* got float32 \[12, 3\].*argmax"),
        (pair(labels=LABELS.astype(float)), r"float64 \[12\]; convert it: y.astype\('int32'\)"),
        (pair(labels=LABELS[:11]), r"expected one label an image, \[12\], got \[11\]"),
        (pair(PIXELS.astype(np.int64)), "must be uint8 or floats, got int64"),
        (pair(PIXELS.astype(np.uint16)), "got uint16; scale it"),
        (pair(FLOATS - 0.5), r"floats must lie in 0\.\.1.*undo a normalisation"),
        (pair(FLOATS * 15), r"in 0\.\.255 with some above 16, got 0\.\.15"),
        (
            pair(FLOATS, test_images=PIXELS[12:] / 1.0),
            r"x_test has floats in 0\.\.255, but .*x_train in 0\.\.1",
        ),
        (pair(PIXELS.transpose(0, 3, 1, 2)), "channels last"),
        (pair(test_labels=np.array([0, 1, 2, 3])), "y_test has label 3, of which y_train has no image"),
        (pair(test_labels=np.array(list("abca"))), "y_train holds numbers, but the other labels are strings"),
        (
            pair(labels=np.array(list("abc"))[LABELS], test_labels=np.array(list("abcd"))),
            "the label 'd', .* 3 classes",
        ),
        ((([PIXELS[0], PIXELS[0, :2]], [0, 1]), pair()[1]), "one array of equally sized images"),
        (pipelines(labels=ONE_HOT), r"in a tf.data pipeline by tf.argmax\(y, -1\)"),
        (pipelines(labels=np.eye(7, dtype=int)[LABELS]), r"in a tf.data pipeline by tf.argmax\(y, -1\)"),
        (pipelines(labels=ONE_HOT, batch=4), r"in a tf.data pipeline by tf.argmax\(y, -1\)"),
        ((pipelines()[0].repeat(), pipelines()[1]), r"x_train never ends; leave out repeat\(\)"),
        ((pipelines()[0].take(0), pipelines()[1]), "x_train is an empty tf.data.Dataset"),
        ((pipelines()[0].map(lambda x, y: x), pipelines()[1]), r"must have elements \(image, label\)"),
        (
            pipelines(np.concatenate([FLOATS[:4], 255 * FLOATS[4:]]), batch=4),
            r"floats must lie in 0\.\.1, as those before",
        ),
        (
            (pipelines()[0].map(lambda x, y: (x, (y, y))), pipelines()[1]),
            r"must have elements \(image, label\)",
        ),
        (pair(np.ma.array(PIXELS, mask=PIXELS < 9)), "x_train or its labels are a masked array.*filled"),
        (pair(labels=np.ma.array(LABELS, mask=LABELS == 2)), "masked array"),
        (
            (pipelines()[0].map(lambda x, y: (tf.io.decode_png("no picture"), y)), pipelines()[1]),
            "x_train: the tf.data.Dataset failed after 0 images: Unknown image file format.*ignore_errors",
        ),
        (
            (pipelines()[0].map(lambda x, y: (tf.io.decode_png(tf.io.read_file("none")), y)), pipelines()[1]),
            "failed after 0 images: none; No such file",
        ),
        (
            [
                part.map(lambda x, y: (tf.ensure_shape(tf.py_function(lambda: 0.0, [], tf.float32), None), y))
                for part in pipelines()
            ],
            "unknown rank",
        ),
    ],
)
def test_refuses(data, message):
    with pytest.raises(ValueError, match=message) as caught:
        dataset_from(data)
    assert "\n" not in str(caught.value)


def test_an_array_with_a_mask_of_nothing_is_an_array():
    assert_same(dataset_from(pair(np.ma.array(PIXELS))))


@pytest.mark.parametrize("batch", [0, 1])
def test_refuses_images_of_several_sizes(batch):
    def images():
        for size in (4, 6):
            yield np.zeros((size, size, 3), np.uint8), 0

    spec = (tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((), tf.int32))
    ragged = tf.data.Dataset.from_generator(images, output_signature=spec)
    with pytest.raises(ValueError, match="images of one size.*4.*6.*resize"):
        dataset_from((ragged.batch(batch) if batch else ragged, pipelines()[1]))


def test_refuses_what_does_not_fit_into_memory(monkeypatch):
    monkeypatch.setattr(memory_module, "physical_memory", lambda: 1000)
    with pytest.raises(ValueError, match="GB of memory"):
        dataset_from(pipelines(batch=2))
    with pytest.raises(ValueError, match="GB of memory"):
        dataset_from(pair(), image_size=32)


def test_no_command_loads_what_a_program_gave():
    with pytest.raises(ValueError, match="'memory:arrays' were given by a Python program.*npz:FILE"):
        load_dataset("memory:arrays")


def test_the_package_offers_it_without_loading_tensorflow():
    assert hmnas_tf.dataset_from is dataset_from
    program = "import sys, hmnas_tf; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
