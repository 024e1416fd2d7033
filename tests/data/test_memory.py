"""What does not fit is refused at the start, by what a run takes; streams share one copy of the images."""

from __future__ import annotations

import numpy as np
import pytest

from hmnas_tf.config import Config
from hmnas_tf.data import ImageDataset, load_dataset, memory, training_batches
from hmnas_tf.runs.preflight import check

X = np.random.default_rng(1).integers(0, 256, (100, 8, 8, 3)).astype(np.uint8)
Y = np.arange(100) % 2


def test_a_run_takes_little_more_than_the_bytes_of_the_images(monkeypatch):
    monkeypatch.setattr(memory, "physical_memory", lambda: int(memory.COPIES * X.size))
    memory.check_fits("toy", 100, (8, 8, 3))
    with pytest.raises(
        ValueError, match=r"101 images of 8x8x3 need.*1.2 times their bytes.*--image_size.*disk"
    ):
        memory.check_fits("toy", 101, (8, 8, 3))


def test_images_of_a_program_are_asked_about_before_training(monkeypatch):
    dataset = ImageDataset("toy", "1", X, Y, X, Y, ("a", "b"), ())
    check(Config(batch_size=16, finetune_batch_size=16, formats=("keras",)), dataset)
    monkeypatch.setattr(memory, "physical_memory", lambda: 2 * X.size)  # of which there are two
    with pytest.raises(ValueError, match="'toy': 200 images of 8x8x3 need"):
        check(Config(batch_size=16, finetune_batch_size=16, formats=("keras",)), dataset)


@pytest.mark.parametrize(("kind", "count", "copies"), [(np.uint8, 1000, 1.2), (float, 100, 9)])
def test_an_archive_is_refused_before_it_is_read(kind, count, copies, tmp_path, monkeypatch):
    np.savez_compressed(
        tmp_path / "set.npz", x_train=np.zeros((count, 64, 64, 3), kind), y_train=Y, x_test=X, y_test=Y
    )
    monkeypatch.setattr(memory, "physical_memory", lambda: 10**7)
    monkeypatch.setattr(np.lib.npyio.NpzFile, "__getitem__", None)  # nothing may be read
    with pytest.raises(ValueError, match=f"{count} images of 64x64x3 need.*{copies} times.*as uint8"):
        load_dataset(f"npz:{tmp_path / 'set.npz'}")


def test_a_container_has_what_it_is_given(tmp_path, monkeypatch):
    whole = memory.physical_memory()
    for text, expected in (("max", whole), ("123456", 123456)):
        (tmp_path / "memory.max").write_text(f"{text}\n")
        monkeypatch.setattr(memory, "_LIMITS", (str(tmp_path / "none"), str(tmp_path / "memory.max")))
        assert memory.physical_memory() <= whole
        assert text == "max" or memory.physical_memory() == expected


def test_a_part_of_shared_images_gives_the_batches_of_a_copy():
    part = np.sort(np.random.default_rng(2).permutation(100)[:37])
    options = dict(batch_size=8, start_step=2, total_steps=7, seed=3, augmentation=("crop", "flip"))
    options |= dict(mean=(0.5,) * 3, std=(0.2,) * 3)
    shared = training_batches(X, Y, part=part, **options)
    copied = training_batches(X[part], Y[part], **options)
    for (images, labels), (same_images, same_labels) in zip(shared, copied, strict=True):
        assert np.array_equal(images, same_images)
        assert np.array_equal(labels, same_labels)
    with pytest.raises(ValueError, match="batch_size 38 is larger than the 37"):
        training_batches(X, Y, part=part, **(options | {"batch_size": 38}))
