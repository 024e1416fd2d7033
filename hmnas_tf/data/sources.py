"""Where datasets come from, by name."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Sequence

from hmnas_tf.console.paths import at_home, meant, path_of
from hmnas_tf.console.progress import Say, silent
from hmnas_tf.data.augmentation import stored_size
from hmnas_tf.data.centre import centred
from hmnas_tf.data.digits_source import load_digits
from hmnas_tf.data.folder_source import load_folder
from hmnas_tf.data.image_dataset import MEMORY, ImageDataset
from hmnas_tf.data.npz_source import load_npz
from hmnas_tf.data.tfds_source import load_tfds
from hmnas_tf.storage.plain_names import plainly


@dataclasses.dataclass(frozen=True)
class SourceOptions:
    """What a source may need beside the name; see `load_dataset`."""

    data_dir: str
    idx_dir: str
    download: bool
    image_size: int
    train_examples: int
    test_examples: int
    holdout: float
    cache_dir: str
    seed: int
    say: Say


def load_dataset(
    name: str,
    *,
    data_dir: str = "",
    idx_dir: str = "/usr/share/datasets/fashion-mnist",
    download: bool = False,
    image_size: int = 0,
    augmentation: Sequence[str] = (),
    train_examples: int = 0,
    test_examples: int = 0,
    holdout: float = 0.0,
    cache_dir: str = "",
    seed: int = 0,
    say: Say = silent,
) -> ImageDataset:
    """Loads a dataset into memory, or onto disk where that is too small for it.

    The network is used only when `download` says so.

    Args:
        name: `digits`; `folder:PATH`; `npz:FILE`; anything else is a name of TensorFlow Datasets, such as
            `cifar10`, `emnist/letters` or `fashion_mnist:3.0.1`.
        data_dir: where TensorFlow Datasets keeps prepared data; "" for its default.
        idx_dir: folder with the four IDX files of Fashion-MNIST, from which `fashion_mnist` is prepared
            offline.
        download: allow TensorFlow Datasets to download what is not prepared.
        image_size: side to resize the images to, pixels; 0 keeps their size.
        augmentation: what training is going to do; a random resized crop wants training images larger than that, and
            the middle of test images, see `stored_size`.
        train_examples: keep only the first so many training images; 0 keeps all.
        test_examples: likewise for test images.
        holdout: share of the training images, of each class, that is put in the place of the test images; 0 is none.
            Of a folder with a validation side, that one is put there, whatever the share.
        cache_dir: folder to keep images in, on disk; "" keeps only those there that do not fit well into memory, below
            `~/.cache`.
        seed: of the split of a folder without train/ and test/, and of the images held out.
        say: shows a line of progress when reading takes long.

    Returns:
        The dataset.

    Raises:
        ValueError: one line that says what was expected, what came, and what to do.
    """
    if image_size < 0:
        raise ValueError(f"image_size must be 0 or a number of pixels, got {image_size}")
    side = stored_size(image_size, augmentation)
    options = SourceOptions(
        data_dir, idx_dir, download, side, train_examples, test_examples, holdout, cache_dir, seed, say
    )
    for key, load in SOURCES.items():
        if name == key or (key.endswith(":") and name.startswith(key)):
            dataset = load(name.removeprefix(key), options)
            break
    else:
        dataset = _tfds(name, options)
    return centred(dataset.take(train_examples, test_examples), image_size).holding_out(holdout, seed)


def _digits(_: str, options: SourceOptions) -> ImageDataset:
    return load_digits(options.image_size)


def _refuse_the_other(prefix: str, path: str) -> None:
    """Refuses a folder where a file is expected, and a file where a folder is."""
    place = path_of(path, "dataset")
    if path and place.exists() and place.is_dir() != (prefix == "folder:"):
        raise ValueError(f"dataset '{prefix}{path}' cannot be read: {meant(path)}")


def _folder(path: str, options: SourceOptions) -> ImageDataset:
    _refuse_the_other("folder:", path)
    return load_folder(
        path,
        image_size=options.image_size,
        seed=options.seed,
        train_examples=options.train_examples,
        test_examples=options.test_examples,
        holdout=options.holdout,
        cache_dir=options.cache_dir,
        say=options.say,
    )


def _npz(path: str, options: SourceOptions) -> ImageDataset:
    _refuse_the_other("npz:", path)
    return load_npz(path, options.image_size)


def _memory(name: str, _: SourceOptions) -> ImageDataset:
    raise ValueError(
        f"the images '{MEMORY}{name}' were given by a Python program, so no command can load them: there, call "
        "hmnas_tf.search again, or save them with numpy.savez and pass --dataset=npz:FILE"
    )


def _tfds(name: str, options: SourceOptions) -> ImageDataset:
    data_dir = at_home(options.data_dir, "data_dir")
    with plainly(data_dir) if data_dir else contextlib.nullcontext("") as place:
        if str(place) != data_dir and (
            options.download or os.path.isdir(at_home(options.idx_dir, "idx_dir"))
        ):
            os.makedirs(data_dir, exist_ok=True)  # through the link it could not be made
        try:
            return load_tfds(
                name,
                data_dir=str(place),
                idx_dir=options.idx_dir,
                download=options.download,
                image_size=options.image_size,
                train_examples=options.train_examples,
                test_examples=options.test_examples,
                also_known=[key for key in SOURCES if not key.endswith(":")],
                cache_dir=options.cache_dir,
                say=options.say,
            )
        except ValueError as error:
            raise ValueError(str(error).replace(str(place), data_dir)) from error


# A key that ends in ":" is a prefix; what follows it is the loader's first argument.
SOURCES: dict[str, Callable[[str, SourceOptions], ImageDataset]] = {
    "digits": _digits,
    "folder:": _folder,
    "npz:": _npz,
    MEMORY: _memory,
}
