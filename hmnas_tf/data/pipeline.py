"""Batches as pure functions of (seed, step): a run resumed at step k sees, bit for bit, the same ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from hmnas_tf.data.augmentation import augment_and_normalise, check_augmentation, mixed, normalise
from hmnas_tf.data.rows import Images, Rows
from hmnas_tf.data.stream_images import asked_for, image_reader, on_cpu, only_own

_AHEAD = 4  # batches made before they are wanted
_ASKED = 4  # batches that a disk is asked for before they are made
_ROUNDS = 12  # of the cipher behind the shuffle, see `_shuffled`


def training_batches(
    x: Images,
    y: np.ndarray | tf.Tensor,
    *,
    part: np.ndarray | None = None,
    batch_size: int,
    start_step: int,
    total_steps: int,
    seed: int,
    augmentation: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
    size: tuple[int, int] | None = None,
    mixed_classes: int = 0,
    own: np.ndarray | None = None,
) -> tf.data.Dataset:
    """Shuffled, augmented, normalised batches number `start_step` .. `total_steps - 1` of an endless stream.

    Batch number s depends on (seed, s) alone, so a checkpoint needs no iterator state: start at the step that
    was saved. Every epoch of `len(x) // batch_size` steps is a new permutation; the remainder is dropped. A
    second, independent stream, such as the batches that train the architecture, is this one with another
    seed.

    Args:
        x: uint8 [N, H, W, C], in memory or on disk, see `buffers.reader`.
        y: integer [N].
        part: indices of the images to use, [n]; None is all. N below is their number.
        batch_size: images a batch, over all replicas.
        start_step: number of the first batch, 0 for a fresh run.
        total_steps: number of the batch to stop before.
        seed: of the order and the augmentation.
        augmentation: keys of `AUGMENTATIONS`, may be empty.
        mean: C floats, of pixels scaled to 0..1.
        std: C floats > 0.
        size: height and width of the batches' images, pixels; None is that of `x`, which may be larger.
        mixed_classes: number of classes, where images and labels may be mixed; 0 leaves out what mixes them.
        own: which images of each batch this worker trains on, bools [batch_size]; the others are not read, and are not
            a number. None is all. Where images are mixed, all are needed.

    Returns:
        Dataset of `total_steps - start_step` pairs (float32 [batch_size, H, W, C], int32 [batch_size]); mixed labels
        are float32 [batch_size, mixed_classes].

    Raises:
        ValueError: arrays of the wrong kind, a batch larger than the data, steps out of order, an unknown
            augmentation.
    """
    _check_arrays(x, y, batch_size)
    check_augmentation(augmentation)
    count = len(x) if part is None else len(part)
    if batch_size > count:
        raise ValueError(
            f"batch_size {batch_size} is larger than the {count} training images: "
            "use a smaller batch or more images"
        )
    if not 0 <= start_step <= total_steps:
        raise ValueError(
            f"expected 0 <= start_step <= total_steps, got start_step {start_step}, total_steps {total_steps}"
        )
    steps_per_epoch = count // batch_size
    read, labels = image_reader(x, own), on_cpu(y, tf.int32)
    chosen = None if part is None else on_cpu(part, tf.int64)

    def numbers(step: tf.Tensor) -> tf.Tensor:
        position = (step % steps_per_epoch) * batch_size + tf.range(batch_size, dtype=tf.int64)  # [B]
        index = _shuffled(position, seed, step // steps_per_epoch, count)
        return index if chosen is None else tf.gather(chosen, index)

    def batch(step: tf.Tensor, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        batch_seed = tf.stack([tf.constant(seed, tf.int64), step])
        augmented = augment_and_normalise(read(index), batch_seed, augmentation, mean, std, size)
        augmented = only_own(own, augmented)
        if not mixed_classes:
            return augmented, tf.gather(labels, index)
        return mixed(augmented, tf.gather(labels, index), batch_seed, augmentation, mixed_classes)

    return _mapped(tf.data.Dataset.range(start_step, total_steps), numbers, batch, x, own)


def evaluation_batches(
    x: Images,
    y: np.ndarray | tf.Tensor,
    *,
    batch_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    own: np.ndarray | None = None,
) -> tf.data.Dataset:
    """Every image once, in order, in batches of one size.

    The last batch is filled up with copies of the last image that weigh 0, so that shapes are static and any
    number of replicas that divides `batch_size` divides every batch. Sum with the weights, divide by their
    sum.

    Args:
        x: uint8 [N, H, W, C].
        y: integer [N].
        batch_size: images a batch; may exceed N.
        mean: C floats, of pixels scaled to 0..1.
        std: C floats > 0.
        own: which images of each batch this worker evaluates, see `training_batches`.

    Returns:
        Dataset of ceil(N / batch_size) triples: images float32 [B, H, W, C], labels int32 [B], weights
        float32 [B].

    Raises:
        ValueError: arrays of the wrong kind or batch_size < 1.
    """
    _check_arrays(x, y, batch_size)
    read, labels = image_reader(x, own), on_cpu(y, tf.int32)

    def numbers(number: tf.Tensor) -> tf.Tensor:
        return number * batch_size + tf.range(batch_size, dtype=tf.int64)  # [B]

    def batch(_: tf.Tensor, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        weights = tf.cast(index < len(x), tf.float32)
        index = tf.minimum(index, len(x) - 1)
        return only_own(own, normalise(read(index), mean, std)), tf.gather(labels, index), weights

    return _mapped(tf.data.Dataset.range(-(-len(x) // batch_size)), numbers, batch, x, own)


def split_indices(n: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits 0..n-1 at random into the part that trains weights and the part that trains the architecture.

    Args:
        n: number of examples.
        fraction: share of the second part, 0 <= fraction < 1; 0.2 in the paper (section 4).
        seed: of the permutation.

    Returns:
        (train, validation): int64 arrays, sorted, disjoint, together 0..n-1; validation has round(n *
        fraction).

    Raises:
        ValueError: one of the two parts would be empty, other than the second by a fraction of 0.
    """
    count = round(n * fraction)
    if not 0 < count < n and fraction:
        raise ValueError(
            f"splitting {n} examples by {fraction} leaves {n - count} and {count}: "
            "both parts need at least one; use more examples or a fraction further from 0 and 1"
        )
    order = np.random.default_rng(seed).permutation(n)
    return np.sort(order[count:]), np.sort(order[:count])


def _shuffled(position: tf.Tensor, seed: int, epoch: tf.Tensor, size: int) -> tf.Tensor:
    """Where the permutation number (seed, epoch) of 0..size-1 sends each position, without writing it down.

    `tf.random.experimental.index_shuffle` is the same operation with 4 rounds. That is too few: for 50,000
    images and consecutive epochs, the ranks correlate by 0.7, and two images of one batch meet again in the
    next epoch 50 times too often. From 8 rounds on no such trace is left.
    """
    key = tf.stack([tf.constant(0, tf.int64), tf.constant(seed, tf.int64), epoch])
    return tf.raw_ops.RandomIndexShuffle(
        index=position, seed=key, max_index=tf.constant(size - 1, tf.int64), rounds=_ROUNDS
    )


def _mapped(
    steps: tf.data.Dataset,
    numbers: Callable[[tf.Tensor], tf.Tensor],
    batch: Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, ...]],
    x: Images,
    own: np.ndarray | None,
) -> tf.data.Dataset:
    """Returns the batches of steps: of the numbers of their images, which a disk is asked for some batches before."""

    def numbered(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return step, numbers(step)

    # Nothing in it depends on the values of tensors, and reading its source takes longer than all the rest.
    numbered, batch = map(tf.autograph.experimental.do_not_convert, (numbered, batch))
    if isinstance(x, Rows) and x.store:
        numbered = asked_for(x, own, numbered)
        steps = steps.map(numbered).prefetch(_ASKED)
        batches = steps.map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    else:
        batches = steps.map(
            lambda step: batch(*numbered(step)), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
    batches = batches.prefetch(_AHEAD)
    options = tf.data.Options()
    # Without it AUTOTUNE is a call a core. The thread that tunes is not always woken when an iterator ends, which then
    # waits for it: half of a minute's run on one core.
    options.autotune.enabled = False
    options.deterministic = True
    # There are no files to shard by: several workers split every batch.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return batches.with_options(options)


def _check_arrays(x: Images, y: np.ndarray | tf.Tensor, batch_size: int) -> None:
    if x.dtype != np.uint8 or x.ndim != 4 or len(x) == 0:
        raise ValueError(
            f"images must be a non-empty uint8 array [N, H, W, C], got {x.dtype} {list(x.shape)}"
        )
    if y.shape != x.shape[:1]:
        raise ValueError(
            f"expected one label for each of the {len(x)} images, got labels of shape {list(y.shape)}"
        )
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
