"""Parts of a data set are rows of one array, which TensorFlow reads where it lies."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.data import ImageDataset, evaluation_batches, training_batches
from hmnas_tf.data.buffers import aligned, as_tensor, empty
from hmnas_tf.data.rows import Rows, blocks, middle, whole

X = np.random.default_rng(0).integers(0, 256, (60, 12, 10, 3)).astype(np.uint8)
Y = np.arange(60) % 3
SETTINGS = dict(mean=(0.5,) * 3, std=(0.2,) * 3)


def filled(shape: tuple[int, ...]) -> np.ndarray:
    images = empty(shape)
    images[...] = np.random.default_rng(1).integers(0, 256, shape)
    return images


def test_rows_are_read_as_an_array_is():
    index = np.array([5, 3, 40, 3])
    rows = Rows(X, index, size=(8, 6))
    expected = X[index][:, 2:10, 2:8]
    assert (rows.shape, rows.dtype, rows.ndim, len(rows)) == (expected.shape, np.uint8, 4, 4)
    assert np.array_equal(rows, expected)
    assert np.array_equal(rows[1], expected[1])
    for which in (slice(1, 3), np.array([2, 0]), np.array([True, False, True, False])):
        assert np.array_equal(rows[which], expected[which])
        assert np.array_equal(rows.chosen(which), expected[which])
    assert np.array_equal(whole(rows), X[index])
    assert np.array_equal(np.concatenate(list(blocks(rows))), expected)


def test_a_tensor_is_the_array_itself():
    images = filled((7, 4, 4, 3))
    tensor = as_tensor(images)
    images[2, 1, 1, 1] += 1
    assert int(tensor[2, 1, 1, 1]) == images[2, 1, 1, 1]
    fixed = images[:3]
    fixed.flags.writeable = False
    assert np.array_equal(as_tensor(fixed), fixed)


@pytest.mark.parametrize("make", [lambda x: x.reshape(-1)[1:49].reshape(3, 4, 4, 1), lambda x: x[..., 1:2]])
def test_what_tensorflow_cannot_read_is_copied(make):
    images = make(filled((7, 4, 4, 3)))
    assert np.array_equal(tf.gather(as_tensor(images), [2, 0]), images[[2, 0]])
    assert np.array_equal(aligned(images), images)
    assert as_tensor(aligned(images)).shape == images.shape


def test_parts_of_a_dataset_copy_nothing():
    dataset = ImageDataset("toy", "1", filled(X.shape), Y, X, Y, ("a", "b", "c"), ())
    held = dataset.holding_out(0.25, seed=0)
    drawn = held.of_random_classes(2, seed=0)
    assert all(
        rows.source is dataset.x_train for rows in (held.x_train, held.x_test, drawn.x_train, drawn.x_test)
    )
    assert np.array_equal(dataset.x_train[held.x_test.index], held.x_test)
    assert held.take(5).x_train.source is dataset.x_train
    assert np.shares_memory(dataset.take(5).x_train, dataset.x_train)
    assert middle(dataset.x_train, 4, 4).source is dataset.x_train


def batches_of(x, part=None) -> list[tuple[np.ndarray, ...]]:
    train = training_batches(
        x,
        Y[: len(x)],
        part=part,
        batch_size=4,
        start_step=3,
        total_steps=9,
        seed=1,
        augmentation=("crop",),
        **SETTINGS,
    )
    test = evaluation_batches(x, Y[: len(x)], batch_size=8, **SETTINGS)
    return [*train.as_numpy_iterator(), *test.as_numpy_iterator()]


@pytest.mark.parametrize("part", [None, np.array([1, 4, 9, 16, 25])])
def test_rows_give_the_batches_of_a_copy(part):
    index = np.random.default_rng(2).permutation(60)[:30]
    rows = Rows(filled(X.shape), index, size=(8, 8))
    for got, expected in zip(batches_of(rows, part), batches_of(np.asarray(rows), part), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))


def test_a_worker_gets_its_part_of_a_batch_and_sees_where_it_takes_another():
    own = np.array([False, True, True, False])
    common = dict(
        batch_size=4, start_step=0, total_steps=5, seed=1, augmentation=("crop", "flip", "cutout"), **SETTINGS
    )
    streams = [training_batches(X, Y, own=mask, **common) for mask in (None, own)]
    streams += [evaluation_batches(X, Y, batch_size=4, own=mask, **SETTINGS) for mask in (None, own)]
    for complete, partial in zip(streams[::2], streams[1::2], strict=True):
        for (images, *rest), (part, *same) in zip(complete, partial, strict=True):
            assert np.array_equal(images[own], part[own])
            assert np.isnan(part[~own]).all()
            assert all(np.array_equal(a, b) for a, b in zip(rest, same, strict=True))
