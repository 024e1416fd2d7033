"""All artifacts of a run: written, reloaded in their own runtime, compared, measured, and only then named.

Add an exporter by a line in `EXPORTERS`.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from hmnas_tf.exporters import contract, keras_model, onnx_model, parity, saved_model


@dataclasses.dataclass(frozen=True)
class Exporter:
    """One format.

    Attributes:
        file_name: its place below the model folder.
        write: called with (model, path, labelling, check); calls check before the artifact gets its name and returns
            the path it published.
        load: how the format's own runtime reads that path, as a function from images to logits.
        missing: messages about packages that are not installed; [] when the format can be written here.
    """

    file_name: str
    write: Callable[[keras.Model, Path, contract.Labelling, parity.Check], Path]
    load: Callable[[Path], parity.Predict]
    missing: Callable[[], list[str]] = list


def missing_requirements(formats: Iterable[str]) -> list[str]:
    """Says before a training of days whether its artifacts can be written at the end; imports nothing.

    Args:
        formats: keys of `EXPORTERS`.

    Returns:
        One-line messages with the command that installs what is missing; [] when nothing is.

    Raises:
        ValueError: on an unknown format.
    """
    return [message for name in _known(formats) for message in EXPORTERS[name].missing()]


def export_all(
    model: keras.Model,
    model_dir: Path,
    formats: Sequence[str],
    labelling: contract.Labelling,
    images: np.ndarray,
    labels: np.ndarray,
    batch_size: int = 64,
) -> dict[str, dict[str, Any]]:
    """Writes the artifacts of a run and measures each in its own runtime.

    Running it again is safe: files are replaced atomically, a SavedModel takes the next version.

    Args:
        model: stock layers, float32; input `image` [None, H, W, C], output logits [None, classes].
        model_dir: `model/` in the run folder; made when missing.
        formats: keys of `EXPORTERS`.
        labelling: what travels into every artifact.
        images: test images float32 [N, H, W, C], normalised; may be a memory map.
        labels: their classes, integers [N].
        batch_size: images at a time.

    Returns:
        For each format: `path` relative to the run folder, `bytes`, `gzip_bytes` (level 6: what a compressed download
        costs), `max_abs_difference` from the model's logits, `relative_difference` (the same over the largest logit)
        and `test_error` in percent.

    Raises:
        ValueError: on arguments that do not fit together or a model that cannot be exported faithfully.
        ImportError: when a format needs a package that is not installed.
        parity.ParityError: when an artifact does not compute what the model computes; that artifact is not published.
    """
    for message in missing_requirements(formats):
        raise ImportError(message)
    contract.require_exportable(model, labelling)
    _require_examples(images, labels, labelling, batch_size)
    expected = parity.logits_of(parity.predict_function(model), images, batch_size)
    results = {}
    for name in formats:
        exporter = EXPORTERS[name]
        measured: dict[str, float] = {}

        def check(path: Path, name=name, load=exporter.load, measured=measured) -> None:
            logits = parity.logits_of(load(path), images, batch_size)
            absolute, relative = parity.require_equal_logits(name, expected, logits)
            error = 100.0 * float(np.mean(logits.argmax(-1) != labels))
            measured.update(max_abs_difference=absolute, relative_difference=relative, test_error=error)

        path = exporter.write(model, Path(model_dir) / exporter.file_name, labelling, check)
        relative_path = path.relative_to(Path(model_dir).parent).as_posix()
        results[name] = {"path": relative_path, **_sizes(path), **measured}
    return results


def _known(formats: Iterable[str]) -> list[str]:
    formats = list(formats)
    unknown = [name for name in formats if name not in EXPORTERS]
    if unknown:
        raise ValueError(
            f"formats: expected some of {', '.join(sorted(EXPORTERS))}, received {', '.join(unknown)}"
        )
    return formats


def _require_examples(
    images: np.ndarray, labels: np.ndarray, labelling: contract.Labelling, batch_size: int
) -> None:
    if images.dtype != np.float32 or images.shape[1:] != labelling.image_shape or len(images) == 0:
        expected = ("N", *labelling.image_shape)
        received = f"{images.dtype} {images.shape}"
        raise ValueError(f"images: expected normalised float32 {expected} with N >= 1, received {received}")
    if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"labels: expected integers of shape {images.shape[:1]}, received {labels.dtype} {labels.shape}"
        )
    if batch_size < 1:
        raise ValueError(f"batch_size: expected at least 1, received {batch_size}")


def _sizes(path: Path) -> dict[str, int]:
    """Bytes of a file or of all files of a folder, and of their concatenation by name under gzip level 6."""
    compressor = zlib.compressobj(6, wbits=31)  # 31: a gzip container whose header holds no time and no name
    plain = packed = 0
    for chunk in _chunks(path):
        plain += len(chunk)
        packed += len(compressor.compress(chunk))
    return {"bytes": plain, "gzip_bytes": packed + len(compressor.flush())}


def _chunks(path: Path) -> Iterator[bytes]:
    files = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
    for file in files:
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                yield chunk


EXPORTERS: dict[str, Exporter] = {
    "keras": Exporter("derived.keras", keras_model.save_keras, keras_model.load_keras),
    "onnx": Exporter("model.onnx", onnx_model.export_onnx, onnx_model.load_onnx, onnx_model.missing_packages),
    "saved_model": Exporter("saved_model", saved_model.export_saved_model, saved_model.load_saved_model),
}
