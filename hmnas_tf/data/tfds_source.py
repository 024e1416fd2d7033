"""Any image classification set of TensorFlow Datasets, read into memory; offline unless told otherwise."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from hmnas_tf.console.paths import at_home, meant, path_of
from hmnas_tf.console.progress import Say, silent
from hmnas_tf.data.idx_files import prepare_fashion_mnist, quiet_tfds
from hmnas_tf.data.image_dataset import ImageDataset
from hmnas_tf.data.memory import place_on_disk
from hmnas_tf.data.selection import count_to_take
from hmnas_tf.data.tfds_reading import into_memory, onto_disk, prepared_files

_NAME = re.compile(r"(?P<base>[A-Za-z_]\w*)(/[^/:]+)?(:[\d*]+(\.[\d*]+){2})?")

# Signs that a mirror turns into other signs.
HANDED = frozenset(
    {
        "binary_alpha_digits",
        "cmaterdb",
        "emnist",
        "kmnist",
        "mnist",
        "mnist_corrupted",
        "omniglot",
        "svhn_cropped",
    }
)


def load_tfds(
    name: str,
    *,
    data_dir: str = "",
    idx_dir: str = "",
    download: bool = False,
    image_size: int = 0,
    train_examples: int = 0,
    test_examples: int = 0,
    also_known: Sequence[str] = (),
    cache_dir: str = "",
    say: Say = silent,
) -> ImageDataset:
    """Loads a dataset of TensorFlow Datasets with an `image` and a `label`.

    The test images are those of the split `test`, or of `validation` where there is no labelled `test`
    (ImageNet). Images of varying size are resized to `image_size`, short side first, centre kept.

    Args:
        name: NAME[/CONFIG][:VERSION].
        data_dir: TFDS's folder; "" for its default.
        idx_dir: where the IDX files of Fashion-MNIST may lie, used for `fashion_mnist` only.
        download: allow a download when the set is not prepared.
        image_size: side of the square images, pixels; 0 keeps the size of images that all have one.
        train_examples: read only so many training images; 0 for all.
        test_examples: likewise for testing.
        also_known: names from other sources, to suggest when `name` is misspelt.
        cache_dir: folder to keep the images in, on disk; "" keeps only there what does not fit well into memory.
        say: shows a line of progress when reading takes long.

    Returns:
        The dataset.

    Raises:
        ValueError: unknown, not prepared, no image classification, or larger than this machine's memory.
    """
    data_dir = at_home(data_dir)
    builder = _open(name, data_dir, also_known)
    image_shape = _image_shape(builder, image_size)
    with quiet_tfds():
        prepared = builder.is_prepared()
    if not prepared:
        _prepare(builder, data_dir, idx_dir, download)
        builder = _open(name, data_dir, also_known)  # again: now it knows its splits
    title = builder.info.full_name.rsplit("/", 1)[0]
    test_split = _test_split(builder)
    counts = {
        split: count_to_take(
            wanted, builder.info.splits[split].num_examples, f"examples of {title}, split {split}"
        )
        for split, wanted in (("train", train_examples), (test_split, test_examples))
    }
    place = place_on_disk(title, sum(counts.values()), image_shape, cache_dir, say)
    (x_train, y_train), (x_test, y_test) = (
        onto_disk(builder, counts, image_shape, place, say)
        if place
        else [into_memory(builder, split, count, image_shape, say) for split, count in counts.items()]
    )
    return ImageDataset(
        name=title,
        version=str(builder.version),
        x_train=x_train,
        y_train=y_train,
        x_test=x_test,
        y_test=y_test,
        class_names=tuple(builder.info.features["label"].names),
        augmentation=("crop", "cutout") if builder.name in HANDED else ("crop", "flip", "cutout"),
    )


def _open(name: str, data_dir: str, also_known: Sequence[str]) -> Any:
    """The builder of `name`; touches no network."""
    import tensorflow_datasets as tfds  # half a second, and only this source needs it

    match, place = _NAME.fullmatch(name), meant(name)
    try:
        if match:
            return tfds.builder(name, data_dir=data_dir or None)
    except tfds.core.registered.DatasetNotFoundError:
        pass  # answered below: TFDS's own message lists hundreds of names
    except Exception as error:  # of many kinds, by what is asked for and which file is damaged
        if place:
            raise ValueError(f"dataset '{name}' cannot be opened: {place}") from error
        reason = re.sub(r'^.*?Failed to construct dataset .*?}": ', "", str(error).strip())
        reason = re.split(r"\n| Here are ", reason)[0].rstrip(". ")[:200]
        raise ValueError(
            f"dataset '{name}' cannot be opened ({reason}); check NAME[/CONFIG][:VERSION]"
        ) from error
    if place:
        raise ValueError(f"dataset '{name}' is not known: {place}")
    known = [*tfds.list_builders(with_community_datasets=False), *also_known]
    close = difflib.get_close_matches(match["base"] if match else name, known, n=3, cutoff=0.0)
    raise ValueError(
        f"dataset '{name}' is not known; the closest names are {', '.join(close)}; "
        "use digits, folder:PATH, npz:FILE, or NAME[/CONFIG][:VERSION] of TensorFlow Datasets"
    )


def _image_shape(builder: Any, image_size: int) -> tuple[int, int, int]:
    """The size that the images will have; ValueError unless this is image classification in 8 bits."""
    import tensorflow_datasets as tfds

    features = dict(builder.info.features.items())
    image, label = (features.get(key) for key in ("image", "label"))
    fits = isinstance(image, tfds.features.Image) and isinstance(label, tfds.features.ClassLabel)
    if not fits or image.np_dtype != np.uint8 or image.shape[2] is None or not label.num_classes:
        kinds = ", ".join(f"{key}: {type(value).__name__}" for key, value in features.items())
        raise ValueError(
            f"dataset '{builder.name}' is no image classification: expected the features image (8 bits) and "
            f"label (ClassLabel), got {kinds}; choose another, or convert it to folder:PATH"
        )
    if image_size:
        return image_size, image_size, image.shape[2]
    if None in image.shape:
        raise ValueError(
            f"the images of '{builder.name}' vary in size: set --image_size to the side wanted, in pixels"
        )
    return tuple(image.shape)


def _prepare(builder: Any, data_dir: str, idx_dir: str, download: bool) -> None:
    title = f"dataset '{builder.info.full_name}'"
    if builder.name == "fashion_mnist" and idx_dir and path_of(idx_dir).is_dir():
        prepare_fashion_mnist(idx_dir, data_dir)
    elif download:
        _download(builder, title)
    else:
        offline = (
            "; or apt-get install dataset-fashion-mnist, or set --idx_dir to a folder with its four IDX files"
        )
        raise ValueError(
            f"{title} is not prepared under {builder.data_dir_root}: run once with --download on a machine "
            "with network and copy that folder here, or set --data_dir to where it is"
            + (f"{offline} (now '{idx_dir}', which is no folder)" if builder.name == "fashion_mnist" else "")
        )


def _download(builder: Any, title: str) -> None:
    import tensorflow_datasets as tfds

    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    try:
        builder.download_and_prepare()
    except (OSError, ValueError, AssertionError, ImportError, tfds.download.DownloadError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{title} could not be downloaded: {type(error).__name__}: {reason}") from error


def _test_split(builder: Any) -> str:
    """The split to test on: ImageNet's `test` exists, but its labels are all -1."""
    splits = builder.info.splits
    for split in ("test", "validation"):
        if "train" in splits and split in splits and splits[split].num_examples:
            with prepared_files(builder):
                first = next(iter(builder.as_dataset(split=f"{split}[:1]")))
            if int(first["label"]) >= 0:
                return split
    raise ValueError(
        f"dataset '{builder.name}' needs a labelled train and test (or validation) split, "
        f"it has {', '.join(splits)}; choose another, or convert it to folder:PATH"
    )
