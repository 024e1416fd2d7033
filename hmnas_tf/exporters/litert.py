"""LiteRT, formerly TensorFlow Lite: for phones and microcontrollers, in 32, 16 or 8 bits."""

from __future__ import annotations

import contextlib
import os
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import tensorflow as tf

from hmnas_tf.data.augmentation import normalise
from hmnas_tf.exporters import contract, parity
from hmnas_tf.exporters.contract import Cargo
from hmnas_tf.runtimes.archive import LABELLING
from hmnas_tf.storage import atomic

SIGNATURE = "serving_default"

Precision = Callable[[tf.lite.TFLiteConverter, Cargo], None]  # sets a converter


def single(converter: tf.lite.TFLiteConverter, cargo: Cargo) -> None:
    """Keeps weights and activations in 32 bits."""


def half(converter: tf.lite.TFLiteConverter, cargo: Cargo) -> None:
    """Stores weights in 16 bits; a GPU computes in them, a CPU widens them when it loads."""
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]


def int8(converter: tf.lite.TFLiteConverter, cargo: Cargo) -> None:
    """Weights by channel and activations in 8 bits; input and output stay float32, as in all other artifacts."""
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    images = normalise(cargo.calibration, cargo.labelling.mean, cargo.labelling.std)
    converter.representative_dataset = lambda: ({contract.INPUT_NAME: image[None]} for image in images)


def export_litert(cargo: Cargo, path: Path, check: contract.Check, precision: Precision = single) -> Path:
    """Writes the model for batches of 1, with the signature `serving_default` from `image` to `logits`.

    Class names and normalisation lie in a ZIP archive at the end of the file, where TensorFlow Lite's metadata have
    their associated files: `labelling.json`, and `labels.txt` with a name a line.

    Args:
        cargo: what to write.
        path: the file; one that exists is replaced atomically.
        check: called with the finished file before it gets its name.
        precision: `single`, `half` or `int8`.

    Returns:
        `path`.

    Raises:
        ArtifactError: from `check`; `path` is then unchanged.
    """
    content = converted(cargo, precision)
    with atomic.replacing(path) as temporary:
        temporary.write_bytes(content)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(LABELLING, cargo.labelling.to_json())
            archive.writestr("labels.txt", "".join(f"{name}\n" for name in cargo.labelling.class_names))
        check(temporary)
    return path


def converted(cargo: Cargo, precision: Precision) -> bytes:
    """Returns a model for batches of 1 in TensorFlow Lite's format, without its labelling."""
    with tempfile.TemporaryDirectory() as folder:
        _write_servable(cargo, folder)
        # Not from_concrete_functions, which with Keras 3 writes a file without weights and says nothing.
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        precision(converter, cargo)
        with _quiet():
            return converter.convert()


def _write_servable(cargo: Cargo, folder: str) -> None:
    core = cargo.once(parity.inference_of)
    # The batch is fixed: on a free one dilated convolutions fall to pieces.
    signature = [tf.TensorSpec((1, *cargo.labelling.image_shape), tf.float32, name=contract.INPUT_NAME)]
    archive = keras.export.ExportArchive()
    archive.add_endpoint(SIGNATURE, lambda image: {contract.OUTPUT_NAME: core(image)}, signature)
    archive.write_out(folder, options=tf.saved_model.SaveOptions(save_debug_info=False), verbose=False)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences the converter: it warns that another package has its interpreter, and its C++ code tells how it goes."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
