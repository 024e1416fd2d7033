"""A dataset in a folder of image files, one sub-folder a class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hmnas_tf.console.paths import path_of, refuse_within
from hmnas_tf.console.progress import Say, silent
from hmnas_tf.data.class_names import check_names
from hmnas_tf.data.decoding import PictureFile, of_each, read_pictures
from hmnas_tf.data.folder_layout import find_files
from hmnas_tf.data.image_dataset import ImageDataset
from hmnas_tf.data.image_files import FULL, ImageHead, read_head, white_of
from hmnas_tf.data.memory import place_on_disk
from hmnas_tf.data.selection import count_to_take

_TEST_SHARE = 0.2


def load_folder(
    path: str,
    *,
    image_size: int = 0,
    seed: int = 0,
    train_examples: int = 0,
    test_examples: int = 0,
    holdout: float = 0.0,
    cache_dir: str = "",
    say: Say = silent,
) -> ImageDataset:
    """Loads PATH/CLASS/*.png, or PATH/train/CLASS/*.png and PATH/test/CLASS/*.png.

    Classes are the sub-folders in the order of their names. Without train/ and test/, one file in five of
    every class becomes a test image, chosen by `seed`. Images are RGB, or one channel when every file is
    grey. With an `image_size` the short side is resized to it and the centre kept. Without one, images that
    all have the same size stay as they are; otherwise the size is the median of their short sides, rounded
    down to a multiple of 8, at least 8 and at most 224 pixels. Greys of more than 8 bits are scaled by one
    number, the white of as many bits as the highest value of all images needs. Hidden files are skipped; any
    other file of a class that is no image is an error, and what lies beside the classes a notice.

    Args:
        path: the folder.
        image_size: side of the square images, pixels; 0 for the rule above.
        seed: of the split and of the order.
        train_examples: read only so many training images; 0 for all.
        test_examples: likewise for testing.
        holdout: where it is not 0 and there is a validation side, this is read in the place of the test images.
        cache_dir: folder to keep the images in, on disk; "" keeps only there what does not fit well into memory.
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
    if cache_dir:
        refuse_within(f"folder:{path}", path_of(cache_dir), "cache_dir")
    layout = find_files(root, validation=holdout > 0)
    check_names(layout.class_names, str(root))  # before all files are read
    train, test = _shuffled_parts(layout.train, layout.validation or layout.test, seed)
    train = train[: count_to_take(train_examples, len(train), f"training images of {root}")]
    test = test[: count_to_take(test_examples, len(test), f"test images of {root}")]
    files = [*train, *test]
    heads = of_each(files, lambda file, _: read_head(file.path), f"looking at {root}, images", say)
    image_shape = _image_shape(heads, image_size)
    place = place_on_disk(f"folder:{path}", len(heads), image_shape, cache_dir, say)
    white, notices = _white(files, heads)
    decoded = read_pictures(root, [train, test], image_shape, white, place, say)
    return ImageDataset(
        name=f"folder:{path}",
        version=decoded.version,
        x_train=decoded.images[0],
        y_train=decoded.labels[0],
        x_test=decoded.images[1],
        y_test=decoded.labels[1],
        class_names=layout.class_names,
        augmentation=("crop", "flip", "cutout"),
        white=white,
        notices=layout.notices + notices + _surplus(files, heads),
        held_out=bool(layout.validation),
    )


def _shuffled_parts(
    train: list[list[Path]], test: list[list[Path]], seed: int
) -> tuple[list[PictureFile], list[PictureFile]]:
    """The files of both sets, shuffled so that the first N hold all classes."""
    rng = np.random.default_rng(seed)
    if not test:
        train, test = _split(train, rng)
    return _shuffled(train, rng), _shuffled(test, rng)


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


def _shuffled(classes: Sequence[list[Path]], rng: np.random.Generator) -> list[PictureFile]:
    files = [PictureFile(path, label) for label, paths in enumerate(classes) for path in paths]
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


def _white(files: Sequence[PictureFile], heads: Sequence[ImageHead]) -> tuple[int, tuple[str, ...]]:
    """Returns the value of more than 8 bits that becomes 255, and a line about it unless it is what 16 bits can hold.

    Raises:
        ValueError: on colours of 16 bits that would be nearly black: Pillow reads only their upper 8.
    """
    deep = [(head.highest, file.path) for file, head in zip(files, heads, strict=True) if head.highest]
    grey = [head.highest for head in heads if head.highest and head.grey]
    colours = [highest for head in heads if (highest := head.highest) and not head.grey]
    if colours and white_of(max(colours)) < FULL:
        first = next(path for highest, path in deep if highest in colours)
        raise ValueError(
            f"{first} and the other {len(colours) - 1:,} images with colours of 16 bits end at about {max(colours)} of "
            f"{FULL} and would be nearly black; scale them to 0..{FULL}, or save them with 8 bits"
        )
    white = white_of(max(grey, default=0))
    if white == FULL:
        return white, ()
    return white, (
        f"{len(grey):,} of {len(heads):,} images have more than 8 bits and end at {max(grey):,}: {white:,} is taken "
        f"for white ({white.bit_length()} bits), also by predict",
    )


def _surplus(files: Sequence[PictureFile], heads: Sequence[ImageHead]) -> tuple[str, ...]:
    """Returns a line for each kind of thing in files that is not read as it is."""
    found: dict[str, list[Path]] = {}
    for file, head in zip(files, heads, strict=True):
        for kind in head.surplus:
            found.setdefault(kind, []).append(file.path)
    return tuple(
        f"files with {kind}: {len(paths):,} of {len(files):,}, such as {min(paths)}"
        for kind, paths in sorted(found.items())
    )
