"""ImageDataset: what it accepts, its statistics, and what it says about itself."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hmnas_tf.data import ImageDataset
from hmnas_tf.data.image_dataset import content_version

RNG = np.random.default_rng(2)


def make(**changes) -> ImageDataset:
    fields = {
        "name": "toy",
        "version": "1",
        "x_train": RNG.integers(0, 256, (3000, 4, 6, 3)).astype(np.uint8),  # more than one chunk
        "y_train": RNG.integers(0, 3, 3000).astype(np.int64),
        "x_test": np.zeros((5, 4, 6, 3), np.uint8),
        "y_test": np.zeros(5, np.int32),
        "class_names": ("a", "b", "c"),
        "augmentation": ("crop",),
    }
    return ImageDataset(**(fields | changes))


def test_statistics_are_those_of_the_scaled_training_images():
    dataset = make()
    scaled = dataset.x_train / 255.0
    np.testing.assert_allclose(dataset.mean, scaled.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(dataset.std, scaled.std(axis=(0, 1, 2)), rtol=1e-12)
    assert dataset.mean is dataset.mean  # computed once


def test_std_of_a_constant_channel_is_one():
    images = RNG.integers(0, 256, (7, 4, 6, 3)).astype(np.uint8)
    images[..., 1] = 77
    dataset = make(x_train=images, y_train=np.zeros(7, np.int32))
    assert dataset.std[1] == 1.0
    assert dataset.mean[1] == pytest.approx(77 / 255)


def test_shape_classes_and_label_type():
    dataset = make()
    assert dataset.image_shape == (4, 6, 3)
    assert dataset.num_classes == 3
    assert dataset.y_train.dtype == dataset.y_test.dtype == np.int32


def test_take_keeps_the_first_examples_and_all_class_names():
    dataset = make()
    taken = dataset.take(train_examples=10)
    assert np.array_equal(taken.x_train, dataset.x_train[:10])
    assert np.array_equal(taken.y_train, dataset.y_train[:10])
    assert len(taken.x_test) == 5
    assert taken.class_names == dataset.class_names
    assert taken.mean != dataset.mean
    assert len(dataset.take(test_examples=2).y_test) == 2


@pytest.mark.parametrize(
    ("train", "test", "message"), [(3001, 0, "3001 training.*3000"), (0, 6, "6 test.*are 5"), (-1, 0, "-1")]
)
def test_take_refuses_more_than_there_is(train, test, message):
    with pytest.raises(ValueError, match=message):
        make().take(train, test)


def test_describe_is_json():
    described = make().describe()
    assert json.loads(json.dumps(described)) == described
    assert described["train_examples"] == 3000
    assert described["test_examples"] == 5
    assert described["image_shape"] == [4, 6, 3]
    assert described["augmentation"] == ["crop"]
    assert len(described["mean"]) == len(described["std"]) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": np.zeros((3, 4, 6, 3), np.float32)}, "x_train.*uint8.*float32"),
        ({"x_train": np.zeros((3, 4, 6), np.uint8)}, r"\[N, H, W, C\].*\[3, 4, 6\]"),
        (
            {"x_test": np.zeros((0, 4, 6, 3), np.uint8), "y_test": np.zeros(0, np.int32)},
            "x_test.*at least one",
        ),
        ({"x_test": np.zeros((5, 4, 4, 3), np.uint8)}, r"\(4, 6, 3\).*\(4, 4, 3\)"),
        ({"y_test": np.zeros(4, np.int32)}, r"y_test.*\[5\], got \[4\]"),
        ({"y_test": np.zeros((5, 3), np.int32)}, "one-hot"),
        ({"y_test": np.zeros(5)}, "integer array, got float64"),
        ({"y_test": np.array([0, 1, 2, 3, 0])}, r"0\.\.2.*got 0\.\.3"),
        ({"y_test": np.array([0, -1, 2, 1, 0])}, r"got -1\.\.2"),
        ({"class_names": ("a",)}, "at least 2"),
        ({"augmentation": ("blur",)}, "got 'blur'"),
    ],
)
def test_refuses(changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        make(**changes)
    assert "\n" not in str(caught.value)


def test_content_version_depends_on_values_and_shape():
    array = np.arange(12, dtype=np.uint8)
    assert content_version(array) == content_version(array.copy())
    assert (
        len({content_version(array), content_version(array + 1), content_version(array.reshape(3, 4))}) == 3
    )


def test_random_classes_keep_their_images_and_get_new_numbers():
    dataset = make(
        class_names=tuple("abcdefgh"),
        y_train=np.arange(3000) % 8,
        y_test=np.arange(24) % 8,
        x_test=np.zeros((24, 4, 6, 3), np.uint8),
    )
    part = dataset.of_random_classes(3, seed=5)
    assert part.num_classes == 3
    assert len(part.x_train) == 3 * 375
    for new, name in enumerate(part.class_names):
        old = dataset.class_names.index(name)
        assert (part.x_train[part.y_train == new] == dataset.x_train[dataset.y_train == old]).all()
        assert (part.y_test == new).sum() == 3
    assert list(part.class_names) == sorted(part.class_names)
    assert dataset.of_random_classes(3, seed=5).class_names == part.class_names
    assert len({dataset.of_random_classes(3, seed).class_names for seed in range(20)}) > 10
    assert dataset.of_random_classes(0, seed=5) is dataset


@pytest.mark.parametrize("count", [1, 4, -1])
def test_more_classes_than_there_are_or_too_few_are_refused(count):
    with pytest.raises(
        ValueError, match=f"cannot take {count} classes of 'toy', which has 3: ask for 2 to 3"
    ):
        make().of_random_classes(count, seed=0)


def test_a_drawn_class_without_test_images_is_named():
    with pytest.raises(ValueError, match="class 'b', which was drawn to search on, has no test image"):
        make().of_random_classes(3, seed=0)


def test_holding_out_shares_every_class_and_forgets_the_test_images():
    dataset = make()
    held = dataset.holding_out(0.2, seed=3)
    for label in range(3):
        both = int((dataset.y_train == label).sum())
        assert int((held.y_test == label).sum()) == round(0.2 * both)
        assert int((held.y_train == label).sum()) == both - round(0.2 * both)
    rows = {image.tobytes() for image in dataset.x_train}
    assert {image.tobytes() for image in held.x_train} | {image.tobytes() for image in held.x_test} == rows
    assert len(held.x_train) + len(held.x_test) == len(dataset.x_train)


def test_holding_out_follows_its_seed_and_nothing_is_nothing():
    dataset = make()
    assert dataset.holding_out(0.0, seed=3) is dataset
    assert not dataset.held_out
    held = dataset.holding_out(0.2, seed=3)
    assert held.held_out
    assert held.holding_out(0.2, seed=3) is held
    first, again, other = (dataset.holding_out(0.2, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.x_test, again.x_test)
    assert not np.array_equal(first.x_test, other.x_test)


@pytest.mark.parametrize(
    "share, words", [(0.0001, "takes no image of 3000"), (0.9, "takes all 1 .* of class 'b'")]
)
def test_holding_out_too_little_or_too_much_is_refused(share, words):
    labels = np.zeros(3000, np.int32)
    labels[7] = 1
    with pytest.raises(ValueError, match=words):
        make(y_train=labels).holding_out(share, seed=0)
