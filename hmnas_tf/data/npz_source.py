"""A dataset in one NumPy archive."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np

from hmnas_tf.console.paths import path_of
from hmnas_tf.data.arrays import KEYS, dataset_of_arrays
from hmnas_tf.data.buffers import empty
from hmnas_tf.data.image_dataset import ImageDataset
from hmnas_tf.data.memory import COPIES, check_fits

_OPTIONAL = ("class_names", "layout")
_NAMED = 5  # so many arrays are named
_PIECE = 1 << 24  # bytes that are unpacked at a time


def load_npz(path: str, image_size: int = 0) -> ImageDataset:
    """Loads `x_train`, `y_train`, `x_test`, `y_test` and, when there, `class_names` from an .npz file.

    For data that some script has already turned into arrays. Images are uint8, or floats within 0..1 or
    0..255, which are scaled and rounded; [N, H, W] means one channel. Labels are whole numbers from 0 or strings,
    [N] or [N, 1]. Without `class_names` the classes are named by their labels. A string `layout`, NHWC or NCHW, says
    where the channels are. Nothing pickled is ever read.

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
    arrays, others = _read(path_of(path))
    names = arrays.pop("class_names", None)
    if names is not None:
        if names.ndim != 1 or names.dtype.kind not in "US":
            raise ValueError(
                f"{path}: class_names must be a list of strings, got {names.dtype} {list(names.shape)}"
            )
        names = names.tolist()
    layout = arrays.pop("layout", np.array(""))
    if layout.ndim or layout.dtype.kind != "U":
        raise ValueError(
            f"{path}: layout must be a string, NHWC or NCHW, got {layout.dtype} {list(layout.shape)}"
        )
    dataset = dataset_of_arrays(f"npz:{path}", path, arrays, names, image_size, str(layout))
    if not others:
        return dataset
    notice = f"{path}: {len(others):,} of its arrays not used, as they have other names: {_some(others)}"
    return dataclasses.replace(dataset, notices=(*dataset.notices, notice))


def _read(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """Returns the arrays that are asked for, and the names of all others."""
    if not path.is_file():
        raise ValueError(f"npz: expected an existing .npz file, got {path}, which is no file")
    with path.open("rb") as file, _opened(file, path) as archive:
        missing = [key for key in KEYS if key not in archive.files]
        if missing:
            raise ValueError(
                f"{path} lacks {', '.join(missing)}: it has {_some(archive.files) or 'nothing'}; "
                "name the arrays in numpy.savez(file, x_train=..., y_train=..., x_test=..., y_test=...)"
            )
        for key in ("x_train", "x_test"):
            _check_size(archive, key, path)
        wanted = [key for key in (*KEYS, *_OPTIONAL) if key in archive.files]
        others = [key for key in archive.files if key not in wanted]
        return {key: _member(archive, key, path) for key in wanted}, others


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f", ... ({len(names):,})" if len(names) > _NAMED else "")


def _opened(file: BinaryIO, path: Path) -> np.lib.npyio.NpzFile:
    try:
        archive = np.load(file, allow_pickle=False)
    except Exception as error:  # as many kinds as there are ways to be no archive
        raise ValueError(
            f"{path} is not an .npz archive of plain arrays; write it with numpy.savez"
        ) from error
    if not hasattr(archive, "files"):  # an .npy file
        raise ValueError(
            f"{path} holds a single array; write x_train, y_train, x_test, y_test with numpy.savez"
        )
    return archive


def _head(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Reads what an array in an archive begins with: its shape, whether it lies in Fortran's order, its dtype."""
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(member)


def _images(archive: np.lib.npyio.NpzFile, key: str) -> np.ndarray | None:
    """Reads bytes to where TensorFlow can use them without a copy; None if it is another kind of array."""
    with archive.zip.open(f"{key}.npy") as member:
        shape, in_columns, dtype = _head(member)
        if dtype != np.uint8 or in_columns:
            return None
        array = empty(shape)
        rest = array.reshape(-1).data
        while rest:
            count = member.readinto(rest[:_PIECE])
            if not count:
                raise ValueError(f"it ends {len(rest):,} bytes too early")
            rest = rest[count:]
        return array


def _check_size(archive: np.lib.npyio.NpzFile, key: str, path: Path) -> None:
    """Refuses images that do not fit, by what the archive says of them, before any is read."""
    try:
        with archive.zip.open(f"{key}.npy") as member:
            shape, _, dtype = _head(member)
    except Exception:
        return  # told by whoever reads the array
    if len(shape) in (3, 4):
        count, *size = shape
        height, width, channels = (*size, 1)[:3]
        copies = COPIES if dtype == np.uint8 else dtype.itemsize + 1  # as they are stored, and as uint8
        check_fits(
            f"npz:{path}",
            count,
            (height, width, channels),
            copies=copies,
            advice="save fewer or smaller images, as uint8",
        )


def _member(archive: np.lib.npyio.NpzFile, key: str, path: Path) -> np.ndarray:
    try:
        array = _images(archive, key) if key in ("x_train", "x_test") else None
        array = archive[key] if array is None else array
    except MemoryError as error:
        raise ValueError(
            f"{path}: {key} does not fit into memory ({error}); save fewer or smaller images"
        ) from error
    except Exception as error:  # as many kinds as there are places where a file can be damaged
        if "pickle" in str(error):  # NumPy's word for an array of dtype object
            raise ValueError(
                f"{path}: {key} is an array of Python objects; give it one dtype and one shape"
            ) from error
        raise ValueError(
            f"{path}: {key} is damaged ({' '.join(str(error).split())}); write the file again"
        ) from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path}: {key} is no array; write the file with numpy.savez")
    return array
