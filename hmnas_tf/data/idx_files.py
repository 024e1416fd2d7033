"""Fashion-MNIST from its four IDX files, prepared so that stock TensorFlow Datasets reads it ever after."""

from __future__ import annotations

import contextlib
import gzip
import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from hmnas_tf.console.paths import path_of

_PARTS = {"train": "train", "test": "t10k"}  # split -> first word of the file names


def read_idx(path: Path) -> np.ndarray:
    """Reads one IDX file of unsigned bytes, plain or compressed with gzip.

    Args:
        path: of the file; the name ends in .gz when compressed.

    Returns:
        uint8 with the shape that the head of the file states.

    Raises:
        ValueError: names the file that is damaged or of another kind.

    References:
        http://yann.lecun.com/exdb/mnist, "The IDX file format".
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"cannot read {path}: {error}; copy or install the file again") from error
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise ValueError(
            f"{path} is no IDX file of unsigned bytes: it begins with 0x{content[:4].hex()}; replace it"
        )
    head = 4 + 4 * content[3]
    if len(content) < head:
        raise ValueError(f"{path} ends inside its head; copy or install the file again")
    shape = struct.unpack(f">{content[3]}I", content[4:head])
    values = np.frombuffer(content, np.uint8, offset=head)
    if len(values) != np.prod(shape, dtype=np.int64):
        raise ValueError(
            f"{path} states the shape {list(shape)} but holds {len(values)} bytes; copy or install it again"
        )
    return values.reshape(shape)


def prepare_fashion_mnist(idx_dir: str, data_dir: str) -> None:
    """Writes `fashion_mnist` into TensorFlow Datasets' folder, without network.

    Once, about 20 seconds for the 70,000 images. Counts come from the files, so that parts of them do as
    well. A process killed here leaves nothing that looks prepared: TFDS writes into another folder and
    renames it.

    Args:
        idx_dir: folder with {train,t10k}-images-idx3-ubyte[.gz] and {train,t10k}-labels-idx1-ubyte[.gz].
        data_dir: TFDS's folder; "" for its default.

    Raises:
        ValueError: a file is missing, damaged, or not 28x28 images with labels 0..9; `data_dir` cannot be
            written.
    """
    import tensorflow_datasets as tfds

    splits = {split: _read_split(path_of(idx_dir), word) for split, word in _PARTS.items()}

    with tfds.core.registered.skip_registration():  # or it would clash with the stock builder of this name

        class FashionMNIST(tfds.image_classification.FashionMNIST):
            name = "fashion_mnist"

            def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
                return {split: self._generate_examples(*arrays) for split, arrays in splits.items()}

            def _generate_examples(
                self, images: np.ndarray, labels: np.ndarray
            ) -> Iterator[tuple[int, dict[str, Any]]]:
                for index, (image, label) in enumerate(zip(images, labels, strict=True)):
                    yield index, {"image": image[..., None], "label": int(label)}

    builder = FashionMNIST(data_dir=data_dir or None)
    try:
        with quiet_tfds():
            builder.download_and_prepare()
    except OSError as error:
        if not builder.is_prepared():  # else another process was faster, and its work is as good
            raise ValueError(
                f"cannot write fashion_mnist into {builder.data_dir}: {error}; set --data_dir"
            ) from error


@contextlib.contextmanager
def quiet_tfds() -> Iterator[None]:
    """Silences what TensorFlow Datasets prints and logs below the level of an error."""
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)


def _read_split(folder: Path, word: str) -> tuple[np.ndarray, np.ndarray]:
    images, labels = (
        read_idx(_existing(folder, f"{word}-{kind}")) for kind in ("images-idx3", "labels-idx1")
    )
    if images.shape[1:] != (28, 28) or labels.shape != images.shape[:1] or len(images) == 0:
        raise ValueError(
            f"{folder}/{word}-*: expected images [N, 28, 28] and labels [N], "
            f"got {list(images.shape)} and {list(labels.shape)}; are these the files of Fashion-MNIST?"
        )
    if labels.max() > 9:
        raise ValueError(
            f"{folder}/{word}-labels-idx1-ubyte: labels must lie in 0..9, got {labels.max()}; replace it"
        )
    return images, labels


def _existing(folder: Path, stem: str) -> Path:
    for path in (folder / f"{stem}-ubyte.gz", folder / f"{stem}-ubyte"):
        if path.is_file():
            return path
    raise ValueError(
        f"{folder} lacks {stem}-ubyte.gz; apt-get install dataset-fashion-mnist, "
        "or set --idx_dir to a folder with the four IDX files"
    )
