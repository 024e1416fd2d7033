"""The examples of TensorFlow Datasets, in the order of a split: into memory, or onto disk."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from hmnas_tf.console.mistakes import without_place
from hmnas_tf.console.progress import Progress, Say
from hmnas_tf.data import image_store
from hmnas_tf.data.buffers import empty
from hmnas_tf.data.idx_files import quiet_tfds
from hmnas_tf.data.resizing import crop_and_resize
from hmnas_tf.data.rows import Rows

_BATCH, _BYTES = 512, 1 << 25  # images, and their bytes, decoded at a time


def into_memory(
    builder: Any, split: str, count: int, image_shape: tuple[int, int, int], say: Say
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first images of a split and their labels."""
    images, labels, start = empty((count, *image_shape)), np.empty(count, np.int32), 0
    progress = Progress(say, f"reading {builder.name}, {split} images", count)
    for pixels, classes in _batches(builder, split, 0, count, image_shape):
        images[start : start + len(pixels)], labels[start : start + len(pixels)] = pixels, classes
        start += len(pixels)
        progress.done(start)
    return images, labels


def onto_disk(
    builder: Any, counts: Mapping[str, int], image_shape: tuple[int, int, int], cache: Path, say: Say
) -> tuple[tuple[Rows, np.ndarray], tuple[Rows, np.ndarray]]:
    """Returns images and labels of two splits, one behind the other in one store.

    Args:
        builder: of TensorFlow Datasets, prepared.
        counts: how many images of each split, that of training first.
        image_shape: (height, width, channels) of the result.
        cache: folder of image stores.
        say: shows a line of progress.

    Raises:
        ValueError: see `image_store.opened`.
    """
    total, first = sum(counts.values()), counts["train"]
    of_splits = [
        f"{name} {count} {builder.info.splits[name].shard_lengths}" for name, count in counts.items()
    ]

    def blocks(start: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for split, count in counts.items():
            yield from _batches(builder, split, min(start, count), count, image_shape)
            start = max(0, start - count)

    store = image_store.opened(
        image_store.folder_for(
            cache, builder.info.full_name, [builder.info.full_name, str(image_shape), *of_splits]
        ),
        (total, *image_shape),
        blocks,
        f"decoding {builder.name} onto disk, images",
        say,
    )
    labels = store.facts["label"]
    return (store.rows(np.arange(first)), labels[:first]), (
        store.rows(np.arange(first, total)),
        labels[first:],
    )


@contextlib.contextmanager
def prepared_files(builder: Any) -> Iterator[None]:
    """Reads what TensorFlow Datasets has prepared, in silence; ValueError where files are missing, damaged or unfit."""
    try:
        with quiet_tfds():
            yield
    except tf.errors.OpError as error:
        reason = without_place(error.message)[:300]
        raise ValueError(
            f"the prepared files of '{builder.info.full_name}' in {builder.data_dir} cannot be read ({reason}): copy "
            "that folder here again, or remove it and run once with --download"
        ) from error


def _batches(
    builder: Any, split: str, start: int, count: int, image_shape: tuple[int, int, int]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields images and labels from an example on, in the order of the split; those before are not decoded."""
    import tensorflow_datasets as tfds

    feature = builder.info.features["image"]
    resize = tuple(feature.shape) != image_shape

    def select(example: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        image = feature.decode_example(example["image"])
        return crop_and_resize(image, image_shape[0]) if resize else image, example["label"]

    with prepared_files(builder), tf.device("CPU:0"):
        examples = builder.as_dataset(
            split=f"{split}[:{count}]",
            shuffle_files=False,
            read_config=tfds.ReadConfig(try_autocache=False),
            decoders={"image": tfds.decode.SkipDecoding()},
        )
        decoded = examples.skip(start).map(select, tf.data.AUTOTUNE, deterministic=True)
        together = max(1, min(_BATCH, _BYTES // int(np.prod(image_shape))))
        yield from decoded.batch(together).prefetch(2).as_numpy_iterator()
