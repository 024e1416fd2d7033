"""A dataset in a folder of image files, one sub-folder a class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hmnas_tf.console.paths import PICTURES, path_of
from hmnas_tf.console.progress import Say, silent, watched
from hmnas_tf.data.image_dataset import ImageDataset, content_version, count_to_take
from hmnas_tf.data.image_files import ImageHead, read_head, read_image
from hmnas_tf.data.memory import check_fits
from hmnas_tf.data.resizing import crop_and_resize

_NOT_DATA = ("thumbs.db", "desktop.ini", "__macosx")  # what systems leave behind, besides hidden files
_TEST_SHARE = 0.2


class _File(NamedTuple):
    path: Path
    label: int


def load_folder(
    path: str,
    *,
    image_size: int = 0,
    seed: int = 0,
    train_examples: int = 0,
    test_examples: int = 0,
    say: Say = silent,
) -> ImageDataset:
    """Loads PATH/CLASS/*.png, or PATH/train/CLASS/*.png and PATH/test/CLASS/*.png.

    Classes are the sub-folders in the order of their names. Without train/ and test/, one file in five of
    every class becomes a test image, chosen by `seed`. Images are RGB, or one channel when every file is
    grey. With an `image_size` the short side is resized to it and the centre kept. Without one, images that
    all have the same size stay as they are; otherwise the size is the median of their short sides, rounded
    down to a multiple of 8, at least 8 and at most 224 pixels. Hidden files are skipped; any other file that
    is no image is an error.

    Args:
        path: the folder.
        image_size: side of the square images, pixels; 0 for the rule above.
        seed: of the split and of the order.
        train_examples: read only so many training images; 0 for all.
        test_examples: likewise for testing.
        say: shows a line of progress when reading takes long.

    Returns:
        The dataset; its version is the hash of the decoded images and labels.

    Raises:
        ValueError: names the folder or the file that is wrong.
    """
    if not path:
        raise ValueError(
            "folder: needs a path, as in folder:my_images, with one sub-folder of image files a class"
        )
    root = path_of(path)
    train, test, class_names = _find(root, seed)
    train = train[: count_to_take(train_examples, len(train), f"training images of {root}")]
    test = test[: count_to_take(test_examples, len(test), f"test images of {root}")]
    heads = [read_head(file.path) for file in watched([*train, *test], say, f"looking at {root}, images")]
    image_shape = _image_shape(heads, image_size)
    check_fits(f"folder:{path}", len(heads), image_shape)
    x_train, y_train = _read(train, image_shape, f"reading {root}, training images", say)
    x_test, y_test = _read(test, image_shape, f"reading {root}, test images", say)
    return ImageDataset(
        name=f"folder:{path}",
        version=content_version(x_train, y_train, x_test, y_test),
        x_train=x_train,
        y_train=y_train,
        x_test=x_test,
        y_test=y_test,
        class_names=class_names,
        augmentation=("crop", "flip", "cutout"),
    )


def _find(root: Path, seed: int) -> tuple[list[_File], list[_File], tuple[str, ...]]:
    """The files of both sets, shuffled so that the first N hold all classes, and the class names."""
    if not root.is_dir():
        raise ValueError(f"folder: expected an existing folder with one sub-folder a class, got {root}")
    rng = np.random.default_rng(seed)
    parts = {part: root / part for part in ("train", "test") if (root / part).is_dir()}
    if len(parts) == 2:
        class_names = _class_names(parts["train"])
        foreign = sorted(set(_class_names(parts["test"])) - set(class_names))
        if foreign:
            raise ValueError(
                f"{parts['test']}/{foreign[0]} has no counterpart in {parts['train']}; add it or remove it"
            )
        train, test = ([_files(folder / name) for name in class_names] for folder in parts.values())
    else:
        for folder in parts.values():
            if any(inner.is_dir() and not _ignored(inner) for inner in folder.iterdir()):
                raise ValueError(
                    f"{root} has only {folder.name}/ with classes in it; it needs both train/ and test/"
                )
        class_names = _class_names(root)
        train, test = _split([_files(root / name) for name in class_names], rng)
    return _shuffled(train, rng), _shuffled(test, rng), class_names


def _class_names(folder: Path) -> tuple[str, ...]:
    entries = [entry for entry in sorted(folder.iterdir()) if not _ignored(entry)]
    stray = [entry for entry in entries if entry.suffix.lower() in PICTURES and not entry.is_dir()]
    if stray:
        raise ValueError(f"{stray[0]} lies beside the class folders; move it into the folder of its class")
    names = tuple(entry.name for entry in entries if entry.is_dir())
    if len(names) < 2:
        got = f"only {names[0]}/" if names else "none"
        raise ValueError(
            f"{folder} needs at least 2 sub-folders, one a class, it has {got}; sort the images into them"
        )
    return names


def _files(folder: Path) -> list[Path]:
    files = [entry for entry in sorted(folder.iterdir()) if not _ignored(entry)] if folder.is_dir() else []
    if not files:
        raise ValueError(
            f"{folder} has no image; every class needs at least one in each of training and test"
        )
    for entry in files:
        if entry.is_dir():
            raise ValueError(
                f"{entry} is a folder inside a class; expected image files only, move them one level up"
            )
    return files


def _ignored(entry: Path) -> bool:
    return entry.name.startswith(".") or entry.name.lower() in _NOT_DATA


def _split(
    classes: Sequence[list[Path]], rng: np.random.Generator
) -> tuple[list[list[Path]], list[list[Path]]]:
    train, test = [], []
    for files in classes:
        if len(files) < 2:
            raise ValueError(
                f"{files[0].parent} has 1 image; at least 2 are needed, one for training and one for test"
            )
        order = rng.permutation(len(files))
        count = max(1, round(len(files) * _TEST_SHARE))
        test.append([files[index] for index in order[:count]])
        train.append([files[index] for index in order[count:]])
    return train, test


def _shuffled(classes: Sequence[list[Path]], rng: np.random.Generator) -> list[_File]:
    files = [_File(path, label) for label, paths in enumerate(classes) for path in paths]
    return [files[index] for index in rng.permutation(len(files))]


def _image_shape(heads: Sequence[ImageHead], image_size: int) -> tuple[int, int, int]:
    channels = 1 if all(head.grey for head in heads) else 3
    sizes = {(head.height, head.width) for head in heads}
    if image_size:
        return image_size, image_size, channels
    if len(sizes) == 1:
        return *sizes.pop(), channels
    short = float(np.median([min(head.height, head.width) for head in heads]))
    size = int(np.clip(short // 8 * 8, 8, 224))
    return size, size, channels


def _read(
    files: Sequence[_File], image_shape: tuple[int, int, int], what: str, say: Say
) -> tuple[np.ndarray, np.ndarray]:
    images = np.empty((len(files), *image_shape), np.uint8)
    for index, file in enumerate(watched(files, say, what)):
        image = read_image(file.path, image_shape[2])
        images[index] = (
            image if image.shape == image_shape else crop_and_resize(image, image_shape[0]).numpy()
        )
    return images, np.array([file.label for file in files], np.int32)
