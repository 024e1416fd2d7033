"""All artifacts of a run: written, run in their own runtime, compared, measured, and only then named."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import shlex
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from hmnas_tf.console.progress import Say, silent, watched
from hmnas_tf.data.rows import Images, blocks
from hmnas_tf.exporters import clean_process, parity
from hmnas_tf.exporters.contract import Cargo, Labelling
from hmnas_tf.exporters.formats import EXPORTERS, FORMS, missing_requirements
from hmnas_tf.exporters.parity import ArtifactError
from hmnas_tf.networks.peak_memory import peak_values
from hmnas_tf.runtimes.__main__ import BATCH
from hmnas_tf.scoring.scores import scores_of

CALIBRATION_IMAGES = 128


@dataclasses.dataclass(frozen=True)
class Network:
    """A network that is to be exported.

    Attributes:
        trainable: stock layers, float32; input `image` [None, H, W, C], output logits [None, classes].
        folded: the same function, for inference.
        padded: the same with numbers of channels that onnxruntime is fast with.
        labelling: what travels with it.
        genotype: JSON text of its architecture.
        calibration: uint8 [N, H, W, C], some training images.
    """

    trainable: keras.Model
    folded: keras.Model
    padded: keras.Model
    labelling: Labelling
    genotype: str
    calibration: np.ndarray
    _peaks: dict[int, int] = dataclasses.field(default_factory=dict, init=False, repr=False, compare=False)

    def cargo(self, form: str) -> Cargo:
        """Returns one form of it: `trainable`, `folded` or `padded`."""
        return Cargo(getattr(self, form), self.labelling, self.genotype, self.calibration)

    def memory_bytes(self, artifact: str) -> int:
        """Returns the bytes of activations that one image needs at once in an artifact, see `peak_values`.

        Where activations have fewer bytes than values of the image, a copy is made of it first.
        """
        exporter = EXPORTERS[artifact]
        model = getattr(self, exporter.form)
        if id(model) not in self._peaks:
            self._peaks[id(model)] = peak_values(model)
        needed = self._peaks[id(model)] * exporter.value_bytes
        if exporter.image_bytes == exporter.value_bytes:
            return needed
        image = math.prod(self.labelling.image_shape)
        return max(needed, image * (exporter.image_bytes + exporter.value_bytes))

    def logits(self, pixels: Images, say: Say = silent) -> np.ndarray:
        """Returns its logits, float32 [N, classes], of images, uint8 [N, H, W, C]; `say` shows how far it is."""
        return parity.logits_of(self.trainable, self.labelling, pixels, BATCH, say)


def export_all(
    network: Network,
    model_dir: Path,
    artifacts: Iterable[str],
    pixels: Images,
    labels: np.ndarray,
    say: Say = silent,
    expected: np.ndarray | None = None,
) -> dict[str, dict[str, Any]]:
    """Writes artifacts and measures each in its own runtime, in a process of its own.

    Running it again is safe: files are replaced atomically, a SavedModel takes the next version.

    Args:
        network: what to export.
        model_dir: `model/` in the run folder; made when missing.
        artifacts: keys of `EXPORTERS`.
        pixels: test images uint8 [N, H, W, C].
        labels: their classes, integers [N].
        say: shows a line to the user.
        expected: what `Network.logits` returns for the images, if that is known already.

    Returns:
        For each artifact what `measure` returns, its `path` relative to the run folder, `memory_bytes` (see
        `Network.memory_bytes`), and its exporter's `figures`.

    Raises:
        ValueError: on arguments that do not fit together or a model that cannot be exported faithfully.
        ImportError: when a package is missing.
        ArtifactError: when an artifact does not compute what the model computes; that artifact is not published.
    """
    artifacts = list(artifacts)
    for message in missing_requirements(artifacts):
        raise ImportError(message)
    _require_examples(pixels, labels, network.labelling)
    cargo = {form: network.cargo(form) for form in FORMS}
    if expected is None:
        expected = network.logits(pixels, say)
    results = {}
    with stored(pixels) as stored_pixels:
        for name in watched(artifacts, say, "export", named=True):
            exporter = EXPORTERS[name]
            measured: dict[str, Any] = {}

            def check(path: Path, name=name, measured=measured) -> None:
                measured.update(measure(name, path, network.labelling, stored_pixels, labels, expected))

            path = exporter.write(cargo[exporter.form], Path(model_dir) / exporter.file_name, check)
            results[name] = {
                "path": path.relative_to(Path(model_dir).parent).as_posix(),
                **measured,
                "memory_bytes": network.memory_bytes(name),
                **exporter.figures(path),
            }
            say(
                f"{name:<13}{results[name]['path']:<28}{measured['bytes']:>11,} bytes  "
                f"test error {measured['test_error']:.2f} %"
            )
            if "checked_with" in measured:
                say(f"{name}: checked with {measured['checked_with']}")
            if exporter.shown_by:
                say(f"{name}: look at it with {exporter.shown_by.format(path=shlex.quote(str(path)))}")
    return results


def measure(
    artifact: str,
    path: Path,
    labelling: Labelling,
    pixels: Path,
    labels: np.ndarray,
    expected: np.ndarray | None = None,
) -> dict[str, Any]:
    """Runs an artifact in a process of its own and judges it.

    Args:
        artifact: key of `EXPORTERS`.
        path: where it is.
        labelling: what must lie in it.
        pixels: test images, an `.npy` file of uint8 [N, H, W, C].
        labels: their classes, integers [N].
        expected: the model's logits [N, classes]; None leaves the comparison out.

    Returns:
        `bytes`, `gzip_bytes` (level 6: what a compressed download costs), `sha256` of names and contents, `test_error`
        in percent, its `scores`, `seconds` of a batch of 1 and of 32 and, if there is something to compare with,
        `max_abs_difference` from the model's logits and `relative_difference` (the same over the largest logit).
        `checked_with` where one artifact has several runtimes: the one that ran it.

    Raises:
        ArtifactError: if it cannot be run, has other labels, or differs from the model.
    """
    exporter = EXPORTERS[artifact]
    found = clean_process.run(artifact, exporter.runtime, path, pixels)
    logits, held = found["logits"], json.loads(str(found["labelling"]))
    differing = [k for k, v in json.loads(labelling.to_json()).items() if held.get(k) != v]
    if differing:
        raise ArtifactError(
            f"{artifact}: expected the labelling of this run, received another {', '.join(differing)}; not published"
        )
    if not np.isfinite(logits).all():
        raise ArtifactError(f"{artifact}: expected finite logits, received NaN or infinity; not published")
    result = _sizes(path) | {
        "test_error": parity.test_error(logits, labels),
        "scores": scores_of(labels, logits),
    }
    result["seconds"] = {"batch_1": float(found["seconds"][1]), "batch_32": float(found["seconds"][2])}
    if "checked_with" in found:
        result["checked_with"] = str(found["checked_with"])
    if expected is not None:
        if exporter.tolerance is None:
            absolute, relative = parity.require_similar_error(artifact, expected, logits, labels)
        else:
            absolute, relative = parity.require_equal_logits(artifact, expected, logits, exporter.tolerance)
        exporter.compare(found, expected, labelling)
        result |= {"max_abs_difference": absolute, "relative_difference": relative}
    return result


@contextlib.contextmanager
def stored(pixels: Images) -> Iterator[Path]:
    """Yields a temporary `.npy` file of images, uint8, from which processes read what they need."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pixels.npy")
        head = {"descr": "|u1", "fortran_order": False, "shape": pixels.shape}
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, head)
            for block in blocks(pixels):
                file.write(block.data)
        yield path


def digest(path: Path) -> str:
    """Returns the SHA-256 of a file, or of the names and contents of all files of a folder."""
    hasher = hashlib.sha256()
    for file in _files(path):
        if path.is_dir():
            hasher.update(f"{file.relative_to(path).as_posix()}\0{file.stat().st_size}\0".encode())
        for chunk in _chunks(file):
            hasher.update(chunk)
    return hasher.hexdigest()


def _require_examples(pixels: Images, labels: np.ndarray, labelling: Labelling) -> None:
    if pixels.dtype != np.uint8 or pixels.shape[1:] != labelling.image_shape or len(pixels) == 0:
        expected, received = ("N", *labelling.image_shape), f"{pixels.dtype} {pixels.shape}"
        raise ValueError(f"pixels: expected uint8 {expected} with N >= 1, received {received}")
    if labels.shape != pixels.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"labels: expected integers of shape {pixels.shape[:1]}, received {labels.dtype} {labels.shape}"
        )


def _sizes(path: Path) -> dict[str, Any]:
    compressor = zlib.compressobj(6, wbits=31)  # 31: a gzip container whose header holds no time and no name
    plain = packed = 0
    for file in _files(path):
        for chunk in _chunks(file):
            plain += len(chunk)
            packed += len(compressor.compress(chunk))
    return {"bytes": plain, "gzip_bytes": packed + len(compressor.flush()), "sha256": digest(path)}


def _files(path: Path) -> list[Path]:
    return sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]


def _chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            yield chunk
