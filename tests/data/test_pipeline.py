"""Batches are pure functions of (seed, step), epochs are permutations, evaluation counts each image once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.data import evaluation_batches, split_indices, training_batches

SIZE, BATCH = 23, 5  # 4 steps an epoch, 3 images left over in each
MEAN, STD = (0.5,), (0.25,)
RNG = np.random.default_rng(1)
X = RNG.integers(0, 256, (SIZE, 8, 8, 1)).astype(np.uint8)
Y = np.arange(SIZE, dtype=np.int32)  # the label tells which image it is


def stream(start: int, total: int, *, seed: int = 7, x: np.ndarray = X, y: np.ndarray = Y, **changes):
    arguments = {"batch_size": BATCH, "augmentation": ("crop", "flip", "cutout"), "mean": MEAN, "std": STD}
    return training_batches(x, y, start_step=start, total_steps=total, seed=seed, **(arguments | changes))


def collected(dataset: tf.data.Dataset) -> list[tuple[np.ndarray, ...]]:
    return list(dataset.as_numpy_iterator())


def ranks(size: int, epoch: int, batch: int) -> np.ndarray:
    """When each example is drawn within an epoch."""
    x, y = np.zeros((size, 1, 1, 1), np.uint8), np.arange(size)
    steps = size // batch
    epochs = stream(
        epoch * steps,
        (epoch + 1) * steps,
        x=x,
        y=y,
        batch_size=batch,
        augmentation=(),
        mean=(0.0,),
        std=(1.0,),
    )
    return np.argsort(np.concatenate([labels for _, labels in collected(epochs)]))


@pytest.mark.parametrize("start", [0, 1, 3, 4, 6, 8, 11])
def test_a_stream_started_at_k_is_the_tail_of_one_started_at_0(start):
    whole, tail = collected(stream(0, 12)), collected(stream(start, 12))
    assert len(tail) == 12 - start
    for expected, got in zip(whole[start:], tail, strict=True):
        assert np.array_equal(expected[0], got[0])
        assert np.array_equal(expected[1], got[1])


def test_each_epoch_is_another_permutation():
    epochs = np.concatenate([labels for _, labels in collected(stream(0, 12))]).reshape(3, 20)
    assert [len(set(epoch)) for epoch in epochs] == [20, 20, 20]
    assert not np.array_equal(epochs[0], epochs[1])
    assert not np.array_equal(epochs[1], epochs[2])
    seen = collected(stream(0, 40))
    assert set(np.concatenate([labels for _, labels in seen])) == set(range(SIZE))


def test_images_keep_their_labels():
    for images, labels in collected(stream(0, 6, augmentation=())):
        np.testing.assert_allclose(images, (X[labels] / 255 - 0.5) / 0.25, rtol=1e-5, atol=1e-5)


def test_an_image_is_augmented_differently_in_each_epoch():
    x = np.repeat(X[:1], SIZE, axis=0)
    images = np.concatenate([images for images, _ in collected(stream(0, 8, x=x))])
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) > 30


def test_another_seed_is_another_stream():
    first, second = (np.concatenate([y for _, y in collected(stream(0, 4, seed=seed))]) for seed in (1, 2))
    assert not np.array_equal(first, second)


def test_consecutive_epochs_are_not_alike():
    """The stock index_shuffle fails here: a correlation of 0.7, and 50 times too many meetings."""
    size, batch = 50_000, 100
    first, second = ranks(size, 0, batch), ranks(size, 1, batch)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03  # 0.0045 is one standard deviation
    pairs = np.unique(np.stack([first // batch, second // batch]), axis=1, return_counts=True)[1]
    again = (pairs * (pairs - 1)).sum() / (size * (batch - 1))
    assert again < 1.3 * batch / size


def test_specification_is_static_and_counted():
    dataset = stream(2, 9)
    assert dataset.element_spec == (
        tf.TensorSpec([BATCH, 8, 8, 1], tf.float32),
        tf.TensorSpec([BATCH], tf.int32),
    )
    assert int(dataset.cardinality()) == 7
    assert int(stream(9, 9).cardinality()) == 0


def test_the_images_are_captured_not_copied_into_the_graph():
    x = np.zeros((4000, 32, 32, 1), np.uint8)
    dataset = stream(0, 3, x=x, y=np.zeros(4000, np.int32), mean=(0.0,), std=(1.0,))
    (mapped,) = dataset._inputs()  # below the options
    while not hasattr(mapped, "_map_func"):
        (mapped,) = mapped._inputs()
    assert len(mapped._map_func.function.graph.as_graph_def().SerializeToString()) < 100_000


def test_training_batches_refuse_what_cannot_work():
    with pytest.raises(ValueError, match="batch_size 24 is larger than the 23 training images"):
        stream(0, 1, batch_size=24)
    with pytest.raises(ValueError, match="start_step 3, total_steps 2"):
        stream(3, 2)
    with pytest.raises(ValueError, match="got 'blur'"):
        stream(0, 1, augmentation=("blur",))
    with pytest.raises(ValueError, match="uint8"):
        stream(0, 1, x=X.astype(np.float32))
    with pytest.raises(ValueError, match="23 images, got labels of shape"):
        stream(0, 1, y=Y[:-1])
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        stream(0, 1, batch_size=0)


@pytest.mark.parametrize("batch_size", [1, 5, 8, 23, 64])
def test_evaluation_counts_every_image_once(batch_size):
    dataset = evaluation_batches(X, Y, batch_size=batch_size, mean=MEAN, std=STD)
    batches = collected(dataset)
    assert len(batches) == int(dataset.cardinality()) == -(-SIZE // batch_size)
    assert all(images.shape == (batch_size, 8, 8, 1) for images, _, _ in batches)
    images, labels, weights = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    assert np.array_equal(weights, np.arange(len(weights)) < SIZE)
    assert np.array_equal(labels[:SIZE], Y)
    np.testing.assert_allclose(images[:SIZE], (X / 255 - 0.5) / 0.25, rtol=1e-5, atol=1e-5)
    assert np.isfinite(images).all()


@pytest.mark.parametrize(("n", "fraction"), [(50_000, 0.2), (1442, 0.2), (7, 0.5), (2, 0.4), (9, 0.0)])
def test_split_is_a_seeded_partition(n, fraction):
    train, validation = split_indices(n, fraction, seed=3)
    assert len(validation) == round(n * fraction)
    assert np.array_equal(np.sort(np.concatenate([train, validation])), np.arange(n))
    again = split_indices(n, fraction, seed=3)
    assert np.array_equal(train, again[0])
    if n > 7 and fraction:
        assert not np.array_equal(train, split_indices(n, fraction, seed=4)[0])


@pytest.mark.parametrize(("n", "fraction"), [(1, 0.5), (10, 0.01), (10, 0.99), (0, 0.2), (10, 1.5)])
def test_split_refuses_an_empty_part(n, fraction):
    with pytest.raises(ValueError, match=f"splitting {n} examples by {fraction} leaves"):
        split_indices(n, fraction, seed=0)


def test_two_replicas_share_the_batch_of_one_from_memory_and_from_disk(tmp_path):
    """In a process of its own: logical devices must be set up before TensorFlow starts."""
    program = """
import pathlib, sys
import numpy as np, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
from hmnas_tf.data import evaluation_batches, training_batches
from hmnas_tf.data.image_store import opened
x, y = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 1)).astype(np.uint8), np.arange(50)
blocks = lambda start: iter([(x[start:], y[start:])])
on_disk = opened(pathlib.Path(sys.argv[1]), x.shape, blocks, "writing", lambda *_: None).rows(np.arange(50))
common = dict(mean=(0.5,), std=(0.5,))
def datasets(x):
    yield training_batches(x, y, batch_size=8, start_step=3, total_steps=9, seed=5,
                           augmentation=("crop", "flip", "cutout"), **common)
    yield evaluation_batches(x, y, batch_size=8, **common)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
in_memory = [*datasets(x)] * 2
for dataset, distributed in zip(in_memory, [*datasets(x), *datasets(on_disk)], strict=True):
    batches = 0
    for whole, parts in zip(dataset, strategy.experimental_distribute_dataset(distributed), strict=True):
        for tensor, part in zip(whole, parts, strict=True):
            halves = strategy.experimental_local_results(part)
            assert [len(half) for half in halves] == [4, 4]
            assert np.array_equal(tensor, np.concatenate(halves))
        batches += 1
    assert batches == int(dataset.cardinality())
print("equal")
"""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "TF_CPP_MIN_LOG_LEVEL": "3"}
    run = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "store")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.stdout.strip().endswith("equal"), run.stderr[-2000:]
