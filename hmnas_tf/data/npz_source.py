"""A dataset in one NumPy archive."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from hmnas_tf.data.image_dataset import ImageDataset, content_version
from hmnas_tf.data.resizing import resize_array

_KEYS = ("x_train", "y_train", "x_test", "y_test")
_UNREADABLE = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)


def load_npz(path: str, image_size: int = 0) -> ImageDataset:
    """Loads `x_train`, `y_train`, `x_test`, `y_test` and, when there, `class_names` from an .npz file.

    For data that some script has already turned into arrays. Images are uint8, or floats within 0..1, which
    are scaled and rounded; [N, H, W] means one channel. Labels are whole numbers from 0, [N] or [N, 1].
    Without `class_names` the classes are named by their numbers. Nothing pickled is ever read.

    Args:
        path: of the archive, as `numpy.savez` or `numpy.savez_compressed` write it.
        image_size: side to resize to, pixels; 0 keeps the size.

    Returns:
        The dataset; its version is the hash of the arrays.

    Raises:
        ValueError: the file cannot be read, or an array is missing or not as described.
    """
    if not path:
        raise ValueError(
            "npz: needs a file, as in npz:my_images.npz, with x_train, y_train, x_test and y_test"
        )
    arrays = _read(Path(path).expanduser())
    x_train, x_test = (_images(arrays[key], f"{path}: {key}") for key in ("x_train", "x_test"))
    y_train, y_test = (_labels(arrays[key], f"{path}: {key}") for key in ("y_train", "y_test"))
    names = arrays.get("class_names")
    if names is None:
        highest = max(int(labels.max(initial=0)) for labels in (y_train, y_test))
        names = np.arange(highest + 1)
    elif names.ndim != 1 or names.dtype.kind not in "US":
        raise ValueError(
            f"{path}: class_names must be a list of strings, got {names.dtype} {list(names.shape)}"
        )
    elif names.dtype.kind == "S":
        names = np.char.decode(names, "utf-8")
    dataset = ImageDataset(
        name=f"npz:{path}",
        version=content_version(x_train, y_train, x_test, y_test),
        x_train=resize_array(x_train, image_size),
        y_train=y_train,
        x_test=resize_array(x_test, image_size),
        y_test=y_test,
        class_names=tuple(map(str, names)),
        augmentation=("crop", "flip", "cutout"),
    )
    untrained = sorted(set(y_test.tolist()) - set(y_train.tolist()))
    if untrained:
        raise ValueError(
            f"{path}: y_test has label {untrained[0]}, of which y_train has no image; add some, or remove the class"
        )
    return dataset


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise ValueError(f"npz: expected an existing .npz file, got {path}, which is no file")
    try:
        archive = np.load(path, allow_pickle=False)
    except _UNREADABLE as error:
        raise ValueError(
            f"{path} is not an .npz archive of plain arrays; write it with numpy.savez"
        ) from error
    if not hasattr(archive, "files"):  # an .npy file
        raise ValueError(
            f"{path} holds a single array; write x_train, y_train, x_test, y_test with numpy.savez"
        )
    with archive:
        missing = [key for key in _KEYS if key not in archive.files]
        if missing:
            raise ValueError(
                f"{path} lacks {', '.join(missing)}: it has {', '.join(archive.files) or 'nothing'}; "
                "name the arrays in numpy.savez(file, x_train=..., y_train=..., x_test=..., y_test=...)"
            )
        wanted = [key for key in (*_KEYS, "class_names") if key in archive.files]
        return {key: _member(archive, key, path) for key in wanted}


def _member(archive: np.lib.npyio.NpzFile, key: str, path: Path) -> np.ndarray:
    try:
        return archive[key]
    except _UNREADABLE as error:
        if "pickle" in str(error):  # NumPy's word for an array of dtype object
            raise ValueError(
                f"{path}: {key} is an array of Python objects; give it one dtype and one shape"
            ) from error
        raise ValueError(
            f"{path}: {key} is damaged ({' '.join(str(error).split())}); write the file again"
        ) from error


def _images(images: np.ndarray, what: str) -> np.ndarray:
    if images.ndim == 3:
        images = images[..., None]  # [N, H, W, 1]
    if images.ndim != 4:
        raise ValueError(f"{what} must be [N, H, W] or [N, H, W, C], got {list(images.shape)}; reshape it")
    if images.shape[1] in (1, 3) and images.shape[3] > 4:
        raise ValueError(
            f"{what} must have the channels last, [N, H, W, C], got {list(images.shape)}; "
            "transpose it by (0, 2, 3, 1)"
        )
    if images.dtype == np.uint8:
        return images
    if images.dtype == np.uint16:
        raise ValueError(f"{what} must be uint8, got uint16; scale it: (x / 257).round().astype('uint8')")
    if images.dtype.kind != "f":
        raise ValueError(
            f"{what} must be uint8 or floats in 0..1, got {images.dtype}; for 0..255: x.astype('uint8')"
        )
    if not np.isfinite(images).all():
        raise ValueError(f"{what} has values that are not finite (NaN or infinity); clean it")
    if images.size and not 0 <= images.min() <= images.max() <= 1:
        raise ValueError(
            f"{what}: floats must lie in 0..1, got {images.min():g}..{images.max():g}; "
            "scale them, or store uint8"
        )
    return np.round(images * 255.0).astype(np.uint8)


def _labels(labels: np.ndarray, what: str) -> np.ndarray:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]  # as keras.datasets gives them
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{what} must be whole numbers [N], got {labels.dtype} {list(labels.shape)}; "
            "turn one-hot rows into numbers by y.argmax(1)"
        )
    return labels
