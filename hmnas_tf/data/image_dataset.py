"""A labelled set of equally sized images, uint8 in memory or on disk."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
from typing import Any

import numpy as np

from hmnas_tf.console.progress import Progress, Say, silent
from hmnas_tf.data.augmentation import check_augmentation
from hmnas_tf.data.buffers import aligned
from hmnas_tf.data.class_names import check_names, clean_name, cleaning_notices, listed
from hmnas_tf.data.image_files import FULL
from hmnas_tf.data.rows import Images, Rows, blocks, chosen, middle
from hmnas_tf.data.selection import count_to_take, held_out, random_classes
from hmnas_tf.data.statistics import mean_and_std

MEMORY = "memory:"  # begins the name of a dataset that a program gave: no command can load it again


@dataclasses.dataclass(frozen=True, eq=False)
class ImageDataset:
    """A training and a test set of images with everything a run needs to know about them.

    What every source returns and every stage reads. Images stay uint8: normalising and augmenting happen per
    batch. The 80 / 20 split of the search (paper, section 4) is not made here but by `split_indices`, alike
    for all sources.

    Args:
        name: what `load_dataset` was asked for, for instance "cifar10".
        version: of the data, for instance "3.0.2" or "sha256:0f3a...".
        x_train: uint8 [N, H, W, C]: an array, or rows of one that may be a file. One whose first byte lies where
            TensorFlow cannot read it is copied.
        y_train: integer [N], 0 <= y < len(class_names); kept as int32.
        x_test: uint8 [M, H, W, C], M >= 1.
        y_test: integer [M].
        class_names: at least two, in the order of the labels; kept as `clean_name` has them.
        augmentation: keys of `AUGMENTATIONS` that suit these images.
        white: of files with more than 8 bits, the value that became 255.
        notices: lines that whoever searches on these images should read.
        held_out: whether the test images stand in for others that stay unseen, see `holding_out`.
        resized: side of the training images where the test images are their middle, see `centred`; 0 where both have
            one size.

    Raises:
        ValueError: one of the above does not hold.
    """

    name: str
    version: str
    x_train: Images
    y_train: np.ndarray
    x_test: Images
    y_test: np.ndarray
    class_names: tuple[str, ...]
    augmentation: tuple[str, ...]
    white: int = FULL
    notices: tuple[str, ...] = ()
    held_out: bool = False
    resized: int = 0

    def __post_init__(self) -> None:
        # frozen, so the documented types are put in place through object.__setattr__
        where = f"dataset '{self.name}'"
        names = listed(self.class_names)
        object.__setattr__(self, "notices", (*self.notices, *cleaning_notices(names, where)))
        object.__setattr__(self, "class_names", tuple(map(clean_name, names)))
        check_names(self.class_names, where)
        check_augmentation(self.augmentation)
        object.__setattr__(self, "augmentation", tuple(self.augmentation))
        if len(self.class_names) < 2:
            raise ValueError(f"{where} has the classes {list(self.class_names)}: at least 2 are needed")
        for split in ("train", "test"):
            self._check_split(split)
            labels = getattr(self, f"y_{split}")
            images = getattr(self, f"x_{split}")
            object.__setattr__(self, f"x_{split}", images if isinstance(images, Rows) else aligned(images))
            object.__setattr__(self, f"y_{split}", np.asarray(labels, np.int32))
        height, width, channels = self.x_test.shape[1:]
        if self.x_train.shape[1:] != (self.resized or height, self.resized or width, channels):
            raise ValueError(
                f"dataset '{self.name}': training images are {self.x_train.shape[1:]} but test images are "
                f"{self.x_test.shape[1:]} [H, W, C]; resize them to one size, with as many channels"
            )

    def _check_split(self, split: str) -> None:
        images, labels = getattr(self, f"x_{split}"), getattr(self, f"y_{split}")
        where = f"dataset '{self.name}', x_{split} and y_{split}"
        if not isinstance(images, np.ndarray | Rows) or images.dtype != np.uint8 or images.ndim != 4:
            got = f"{getattr(images, 'dtype', type(images).__name__)} {list(getattr(images, 'shape', []))}"
            raise ValueError(f"{where}: images must be a uint8 array [N, H, W, C], got {got}; convert them")
        if 0 in images.shape:
            raise ValueError(f"{where}: at least one image of one pixel is needed, got {list(images.shape)}")
        if not isinstance(labels, np.ndarray) or not np.issubdtype(labels.dtype, np.integer):
            got = getattr(labels, "dtype", type(labels).__name__)
            raise ValueError(f"{where}: labels must be an integer array, got {got}; convert them to int32")
        if labels.shape != images.shape[:1]:
            raise ValueError(
                f"{where}: expected one label an image, [{len(images)}], got {list(labels.shape)}; "
                "give class numbers, not one-hot rows"
            )
        if labels.min() < 0 or labels.max() >= len(self.class_names):
            raise ValueError(
                f"{where}: {len(self.class_names)} classes need labels in 0..{len(self.class_names) - 1}, "
                f"got {labels.min()}..{labels.max()}; "
                + ("subtract 1 from them" if labels.min() == 1 else "renumber them")
                + " or name more classes"
            )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of every image that a network is shown, in pixels."""
        return tuple(self.x_test.shape[1:])

    @property
    def num_classes(self) -> int:
        """Number of classes, also of those without an example."""
        return len(self.class_names)

    def class_counts(self, part: str) -> np.ndarray:
        """Returns how many images of each class a part has, `train` or `test`, integers [classes]."""
        return np.bincount(getattr(self, f"y_{part}"), minlength=self.num_classes)

    @property
    def on_disk(self) -> bool:
        """Whether the images stay on disk, and only what is shown to a network is read."""
        return isinstance(self.x_train, Rows) and self.x_train.store is not None

    @property
    def given(self) -> bool:
        """Whether a program gave the images, so that nobody else can load them by their name."""
        return self.name.startswith(MEMORY)

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean per channel of the training images scaled to 0..1."""
        return self._statistics[0]

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation per channel of the training images scaled to 0..1; 1 for a constant channel."""
        return self._statistics[1]

    @functools.cached_property
    def _statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return mean_and_std(self.x_train)

    def take(self, train_examples: int = 0, test_examples: int = 0) -> ImageDataset:
        """Keeps only the first examples, for trials.

        Args:
            train_examples: number of training images to keep; 0 keeps all.
            test_examples: number of test images to keep; 0 keeps all.

        Returns:
            A dataset on views of the same arrays, with the same class names.

        Raises:
            ValueError: a number is negative or larger than the split.
        """
        train = count_to_take(train_examples, len(self.x_train), f"training images of '{self.name}'")
        test = count_to_take(test_examples, len(self.x_test), f"test images of '{self.name}'")
        return dataclasses.replace(
            self,
            x_train=chosen(self.x_train, slice(train)),
            y_train=self.y_train[:train],
            x_test=chosen(self.x_test, slice(test)),
            y_test=self.y_test[:test],
        )

    def holding_out(self, share: float, seed: int) -> ImageDataset:
        """Puts some of the training images in the place of the test images, which are no longer there.

        Settings that were chosen by the error on the test images look better than they are. Chosen on these, they can
        be measured on the test images once.

        Args:
            share: of each class's training images, rounded; 0 keeps the dataset as it is, and so does any where images
                are held out already.
            seed: of the choice.

        Raises:
            ValueError: no image, or every image of a class, would be held out.
        """
        if not share or self.held_out:
            return self
        held = held_out(self.name, self.class_names, self.y_train, share, seed)
        return dataclasses.replace(
            self,
            x_train=chosen(self.x_train, ~held),
            y_train=self.y_train[~held],
            x_test=middle(chosen(self.x_train, held), *self.image_shape[:2]),
            y_test=self.y_train[held],
            held_out=True,
        )

    def of_random_classes(self, count: int, seed: int) -> ImageDataset:
        """Keeps only the images of some classes, drawn at random; labels are renumbered in their old order.

        The paper searches on 100 of ImageNet's classes (section 4.3).

        Args:
            count: number of classes; 0 keeps the dataset as it is.
            seed: of the draw.

        Raises:
            ValueError: there are not that many classes, or one of those drawn has no training or no test image.
        """
        if not count:
            return self
        drawn = self.random_classes(count, seed)
        parts: dict[str, Images] = {}
        for split in ("train", "test"):
            labels = getattr(self, f"y_{split}")
            kept = np.isin(labels, drawn)
            parts[f"x_{split}"] = chosen(getattr(self, f"x_{split}"), kept)
            parts[f"y_{split}"] = np.searchsorted(drawn, labels[kept])
        return dataclasses.replace(self, class_names=tuple(self.class_names[c] for c in drawn), **parts)

    def random_classes(self, count: int, seed: int) -> np.ndarray:
        """Returns the labels that `of_random_classes` keeps, without copying images; see `selection`."""
        labels = {"train": self.y_train, "test": self.y_test}
        return random_classes(self.name, self.class_names, labels, count, seed)

    def describe(self) -> dict[str, Any]:
        """The facts about this dataset that belong into results.json; only JSON types."""
        return {
            "name": self.name,
            "version": self.version,
            "train_examples": len(self.x_train),
            "test_examples": len(self.x_test),
            "image_shape": [int(size) for size in self.image_shape],
            "class_names": list(self.class_names),
            "mean": list(self.mean),
            "std": list(self.std),
            "augmentation": list(self.augmentation),
            **({"white": self.white} if self.white != FULL else {}),  # runs of before have none
            **({"resized": self.resized} if self.resized else {}),
        }


def content_version(*arrays: Images, say: Say = silent) -> str:
    """A version for data that carries none: "sha256:" and 16 digits of the hash of shapes and values."""
    digest, done = hashlib.sha256(), 0
    progress = Progress(say, "hashing the images, bytes", sum(math.prod(array.shape) for array in arrays))
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        for block in blocks(array):
            digest.update(block.data)
            done += block.size
            progress.done(done)
    return f"sha256:{digest.hexdigest()[:16]}"
