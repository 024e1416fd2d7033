"""TensorFlow Datasets: offline errors, reading prepared sets, and Fashion-MNIST from IDX files."""

from __future__ import annotations

import gzip
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from hmnas_tf.data import load_dataset
from hmnas_tf.data import memory as memory_module
from hmnas_tf.data.tfds_source import HANDED

RNG = np.random.default_rng(5)
DEBIAN = Path("/usr/share/datasets/fashion-mnist")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Whoever opens a socket fails here."""

    def refuse(*_):
        raise AssertionError("a test tried to use the network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)


@pytest.mark.parametrize("name", ["cifar10", "fashion_mnist", "emnist/letters"])
def test_an_unprepared_set_fails_at_once_and_names_the_ways_out(name, tmp_path):
    begin = time.monotonic()
    with pytest.raises(ValueError, match=f"'{name}/.*not prepared under {tmp_path}.*--download") as caught:
        load_dataset(name, data_dir=str(tmp_path), idx_dir=str(tmp_path / "none"))
    assert time.monotonic() - begin < 5  # a stated requirement; TFDS itself would retry for minutes
    assert "\n" not in str(caught.value)
    assert ("apt-get install dataset-fashion-mnist" in str(caught.value)) == (name == "fashion_mnist")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ciphar10", "closest names are cifar10,"),
        ("digit", "closest names are digits,"),
        ("huggingface:mnist", "is not known"),
        ("not a name", "is not known"),
        ("", "is not known"),
        ("cifar10/nosuch", r"cannot be opened \(BuilderConfig nosuch not found with version 3\.\d+\.\d+\)"),
        ("cifar10:9.9.9", "cannot be opened .*version 9.9.9"),
        ("imdb_reviews", "no image classification.*got text: Text"),
        ("imagenet2012", "vary in size: set --image_size"),
    ],
)
def test_unknown_and_unfit_names(name, message, tmp_path):
    with pytest.raises(ValueError, match=message) as caught:
        load_dataset(name, data_dir=str(tmp_path))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "name", ["pictures", "./pictures", "pictures/", "emnist/pictures", "a.npz", "none.npz", "./none"]
)
def test_a_path_is_no_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("pictures", "emnist/pictures"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "a.npz").touch()
    prefix = "npz" if name.endswith("npz") else "folder"
    with pytest.raises(ValueError) as caught:
        load_dataset(name, data_dir=str(tmp_path))
    expected = "there is no " if "none" in name else f"did you mean --dataset={prefix}:{name}?"
    assert expected in str(caught.value)
    assert "closest" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "other"), [("folder:a.npz", "npz:a.npz"), ("npz:pictures/", "folder:pictures/")]
)
def test_a_file_for_a_folder_and_the_other_way_round_are_told(name, other, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "a.npz").touch()
    with pytest.raises(ValueError, match="cannot be read") as caught:
        load_dataset(name)
    assert f"did you mean --dataset={other}?" in str(caught.value)


def make_builder(splits, shape, name="tiny_pictures"):
    """A small dataset of TFDS; `splits` maps a name to (images, labels)."""
    with tfds.core.registered.skip_registration():

        class TinyPictures(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("1.2.3")

            def _info(self):
                features = {
                    "image": tfds.features.Image(shape=shape),
                    "label": tfds.features.ClassLabel(names=["cat", "dog", "eel"]),
                }
                return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

            def _split_generators(self, dl_manager):
                return {split: self._generate_examples(*arrays) for split, arrays in splits.items()}

            def _generate_examples(self, images, labels):
                for index, (image, label) in enumerate(zip(images, labels, strict=True)):
                    yield index, {"image": image, "label": int(label)}

        TinyPictures.name = name
        return TinyPictures


def prepare(tmp_path, splits, shape=(6, 5, 3), name="tiny_pictures"):
    tfds.disable_progress_bar()
    make_builder(splits, shape, name)(data_dir=str(tmp_path)).download_and_prepare()
    return str(tmp_path)


def arrays(count, shape=(6, 5, 3)):
    return RNG.integers(0, 256, (count, *shape)).astype(np.uint8), np.arange(count) % 3


def test_a_prepared_set_is_read_whole(tmp_path):
    splits = {"train": arrays(30), "test": arrays(7), "validation": arrays(4)}
    data_dir = prepare(tmp_path, splits)
    dataset = load_dataset("tiny_pictures", data_dir=data_dir)
    assert (dataset.name, dataset.version) == ("tiny_pictures", "1.2.3")
    assert dataset.class_names == ("cat", "dog", "eel")
    assert dataset.augmentation == ("crop", "flip", "cutout")
    for split, x, y in (
        ("train", dataset.x_train, dataset.y_train),
        ("test", dataset.x_test, dataset.y_test),
    ):
        expected = {image.tobytes(): label for image, label in zip(*splits[split], strict=True)}
        assert {image.tobytes(): label for image, label in zip(x, y, strict=True)} == expected
    again = load_dataset("tiny_pictures:1.2.3", data_dir=data_dir, train_examples=8)
    assert np.array_equal(again.x_train, dataset.x_train[:8])
    with pytest.raises(ValueError, match="first 31 examples of tiny_pictures, split train: there are 30"):
        load_dataset("tiny_pictures", data_dir=data_dir, train_examples=31)


def test_validation_stands_in_for_a_missing_or_unlabelled_test(tmp_path):
    first = prepare(tmp_path / "a", {"train": arrays(9), "validation": arrays(4)})
    assert len(load_dataset("tiny_pictures", data_dir=first).x_test) == 4
    unlabelled = (arrays(5)[0], np.full(5, -1))
    second = prepare(tmp_path / "b", {"train": arrays(9), "test": unlabelled, "validation": arrays(4)})
    assert len(load_dataset("tiny_pictures", data_dir=second).x_test) == 4
    third = prepare(tmp_path / "c", {"train": arrays(9)})
    with pytest.raises(ValueError, match=r"labelled train and test \(or validation\) split, it has train"):
        load_dataset("tiny_pictures", data_dir=third)


def rewrite_records(path, change):
    records = [
        tf.train.Example.FromString(record)
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    ]
    with tf.io.TFRecordWriter(str(path)) as file:
        for record in records:
            change(record.features.feature)
            file.write(record.SerializeToString())


def spoil_images(features):
    features["image"].bytes_list.value[0] = b"no image"


@pytest.mark.parametrize(
    ("pattern", "damage", "message"),
    [
        ("*-train*", lambda path: path.write_bytes(path.read_bytes()[:-9]), "truncated record"),
        ("*-train*", lambda path: path.unlink(), "No such file"),
        (
            "*-test*",
            lambda path: path.write_bytes(path.read_bytes().replace(b"PNG", b"GNP")),
            "corrupted record",
        ),
        ("*-test*", lambda path: path.unlink(), "No such file"),
        (
            "*-train*",
            lambda path: rewrite_records(path, lambda features: features.pop("label")),
            "label .*required",
        ),
        ("*-train*", lambda path: rewrite_records(path, spoil_images), "Unknown image file format"),
        ("dataset_info.json", lambda path: path.write_text("{"), "cannot be opened .*Expecting"),
        ("features.json", lambda path: path.write_text("{"), "cannot be opened .*Expecting"),
    ],
)
def test_damaged_prepared_files_are_named(tmp_path, pattern, damage, message):
    data_dir = prepare(tmp_path / "sets", {"train": arrays(9), "test": arrays(4)})
    [path] = (tmp_path / "sets").rglob(pattern)
    damage(path)
    with pytest.raises(ValueError, match=message) as caught:
        load_dataset("tiny_pictures", data_dir=data_dir)
    with pytest.raises(ValueError, match=message):
        load_dataset("tiny_pictures", data_dir=data_dir, cache_dir=str(tmp_path / "cache"))
    assert "\n" not in str(caught.value)
    assert "ParallelMap" not in str(caught.value)
    if pattern.startswith("*"):
        assert f"in {path.parent} cannot be read" in str(caught.value)


def test_images_of_varying_size_need_an_image_size(tmp_path):
    flat = [
        np.full((height, width, 3), 40 * index, np.uint8)
        for index, (height, width) in enumerate([(9, 14), (20, 8), (8, 8)])
    ]
    data_dir = prepare(tmp_path, {"train": (flat, [0, 1, 2]), "test": (flat, [0, 1, 2])}, (None, None, 3))
    with pytest.raises(ValueError, match="vary in size: set --image_size"):
        load_dataset("tiny_pictures", data_dir=data_dir)
    dataset = load_dataset("tiny_pictures", data_dir=data_dir, image_size=8)
    assert dataset.image_shape == (8, 8, 3)
    for image, label in zip(dataset.x_train, dataset.y_train, strict=True):
        assert (image == 40 * label).all()


def test_signs_are_not_flipped(tmp_path):
    assert HANDED.issuperset({"mnist", "svhn_cropped", "kmnist", "emnist"})
    assert HANDED.issubset(tfds.list_builders(with_community_datasets=False))
    data_dir = prepare(
        tmp_path, {"train": arrays(9, (28, 28, 1)), "test": arrays(4, (28, 28, 1))}, (28, 28, 1), "kmnist"
    )
    assert load_dataset("kmnist:1.2.3", data_dir=data_dir).augmentation == ("crop", "cutout")


def test_more_than_the_memory_is_kept_on_disk(tmp_path, monkeypatch):
    data_dir = prepare(tmp_path, {"train": arrays(9), "test": arrays(4)})
    whole = load_dataset("tiny_pictures", data_dir=data_dir)
    monkeypatch.setattr(memory_module, "physical_memory", lambda: 100)
    kept = load_dataset("tiny_pictures", data_dir=data_dir)
    assert whole.describe() == kept.describe()
    assert (whole.on_disk, kept.on_disk) == (False, True)
    for part in ("x_train", "y_train", "x_test", "y_test"):
        assert np.array_equal(getattr(whole, part), getattr(kept, part))


def write_idx(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    head = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    with gzip.open(path, "wb") as file:
        file.write(head + array.astype(np.uint8).tobytes())


@pytest.fixture
def idx_files(tmp_path):
    folder, made = tmp_path / "idx", {}
    for split, word, count in (("train", "train", 40), ("test", "t10k", 11)):
        made[split] = RNG.integers(0, 256, (count, 28, 28)).astype(np.uint8), np.arange(count) % 10
        write_idx(folder / f"{word}-images-idx3-ubyte.gz", made[split][0])
        write_idx(folder / f"{word}-labels-idx1-ubyte.gz", made[split][1])
    return folder, made


def test_fashion_mnist_is_prepared_from_idx_files_and_then_read_by_stock_tfds(idx_files, tmp_path, capsys):
    folder, made = idx_files
    data_dir = tmp_path / "tfds"
    left_over = data_dir / "fashion_mnist" / "incomplete.ABC123_3.0.1"  # what a killed run leaves
    left_over.mkdir(parents=True)
    (left_over / "fashion_mnist-train.tfrecord-00000-of-00001").write_bytes(b"half")
    dataset = load_dataset("fashion_mnist", data_dir=str(data_dir), idx_dir=str(folder))
    assert capsys.readouterr().out == ""
    assert dataset.class_names[-1] == "Ankle boot"
    assert dataset.image_shape == (28, 28, 1)
    for split, x, y in (
        ("train", dataset.x_train, dataset.y_train),
        ("test", dataset.x_test, dataset.y_test),
    ):
        expected = {image.tobytes(): label for image, label in zip(*made[split], strict=True)}
        assert {image.tobytes(): label for image, label in zip(x, y, strict=True)} == expected
    stock = tfds.load("fashion_mnist", data_dir=str(data_dir), split="test", download=False, batch_size=-1)
    assert np.array_equal(stock["image"], dataset.x_test)
    again = load_dataset("fashion_mnist", data_dir=str(data_dir), idx_dir="")
    assert np.array_equal(again.x_train, dataset.x_train)


def test_folders_of_any_name_are_read(idx_files, tmp_path):
    folder, _ = idx_files
    folder, data_dir = folder.rename(tmp_path / "idx [1]"), tmp_path / "lr[0.1] *?" / "all {a} %#é"
    with pytest.raises(ValueError, match="not prepared under ") as caught:
        load_dataset("fashion_mnist", data_dir=str(data_dir), idx_dir="")
    assert str(data_dir) in str(caught.value)
    assert not data_dir.exists()
    dataset = load_dataset("fashion_mnist", data_dir=str(data_dir), idx_dir=str(folder))
    again = load_dataset("fashion_mnist", data_dir=str(data_dir), idx_dir="")
    assert np.array_equal(again.x_train, dataset.x_train)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "t10k-labels-idx1-ubyte.gz").unlink(), "lacks t10k-labels-idx1-ubyte.gz"),
        (
            lambda folder: (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(b"junk"),
            "cannot read .*t10k-labels",
        ),
        (
            lambda folder: write_idx(folder / "t10k-labels-idx1-ubyte.gz", np.arange(5)),
            r"got \[11, 28, 28\] and \[5\]",
        ),
        (lambda folder: write_idx(folder / "t10k-labels-idx1-ubyte.gz", np.arange(11)), r"0\.\.9, got 10"),
        (
            lambda folder: write_idx(folder / "train-images-idx3-ubyte.gz", np.zeros((40, 8, 8))),
            r"\[40, 8, 8\]",
        ),
    ],
)
def test_damaged_idx_files_are_named(idx_files, tmp_path, damage, message):
    folder, _ = idx_files
    damage(folder)
    with pytest.raises(ValueError, match=message) as caught:
        load_dataset("fashion_mnist", data_dir=str(tmp_path / "tfds"), idx_dir=str(folder))
    assert "\n" not in str(caught.value)


def test_a_truncated_idx_file_is_named(idx_files, tmp_path):
    folder, _ = idx_files
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ValueError, match="cannot read .*train-images"):
        load_dataset("fashion_mnist", data_dir=str(tmp_path / "tfds"), idx_dir=str(folder))
    with gzip.open(path, "wb") as file:
        file.write(b"\0\0\x08\x03" + struct.pack(">3I", 40, 28, 28) + b"1234")
    with pytest.raises(ValueError, match=r"states the shape \[40, 28, 28\] but holds 4 bytes"):
        load_dataset("fashion_mnist", data_dir=str(tmp_path / "tfds"), idx_dir=str(folder))


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs the Debian package dataset-fashion-mnist")
def test_the_files_of_debian_are_fashion_mnist():
    """The test half only: reading is quick, while preparing all 70,000 images takes 20 seconds."""
    from hmnas_tf.data.idx_files import read_idx

    images = read_idx(DEBIAN / "t10k-images-idx3-ubyte.gz")
    labels = read_idx(DEBIAN / "t10k-labels-idx1-ubyte.gz")
    assert images.shape == (10_000, 28, 28)
    assert np.bincount(labels).tolist() == [1000] * 10
    assert abs(images.mean() / 255 - 0.2868) < 1e-3


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs the Debian package dataset-fashion-mnist")
def test_a_part_of_debians_images_goes_through_tfds_unchanged(tmp_path):
    from hmnas_tf.data.idx_files import read_idx

    for word, count in (("train", 600), ("t10k", 300)):
        for kind in ("images-idx3", "labels-idx1"):
            write_idx(
                tmp_path / "idx" / f"{word}-{kind}-ubyte.gz",
                read_idx(DEBIAN / f"{word}-{kind}-ubyte.gz")[:count],
            )
    dataset = load_dataset("fashion_mnist", data_dir=str(tmp_path / "tfds"), idx_dir=str(tmp_path / "idx"))
    images, labels = (
        read_idx(DEBIAN / "t10k-images-idx3-ubyte.gz"),
        read_idx(DEBIAN / "t10k-labels-idx1-ubyte.gz"),
    )
    expected = {image.tobytes(): label for image, label in zip(images[:300], labels[:300], strict=True)}
    assert {x.tobytes(): y for x, y in zip(dataset.x_test, dataset.y_test, strict=True)} == expected
