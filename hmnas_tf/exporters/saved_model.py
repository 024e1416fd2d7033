"""SavedModel: a servable for TF Serving, `base/N`, with named outputs.

Add an endpoint by a function from (core, labelling) to (function, signature) and a line in `ENDPOINTS`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from hmnas_tf import atomic
from hmnas_tf.exporters import contract, parity

# TF Serving hides assets.extra from the graph and reads only its own warm-up file there.
LABELLING_FILE = "assets.extra/labelling.json"
DEFAULT_ENDPOINT = "serving_default"

Endpoint = tuple[Callable[..., dict[str, tf.Tensor]], list[tf.TensorSpec]]


def export_saved_model(
    model: keras.Model,
    base: str | os.PathLike,
    labelling: contract.Labelling,
    check: parity.Check | None = None,
) -> Path:
    """Publishes the model as the next version below `base`, from which TF Serving picks it up.

    The version is written and checked under a name that a server ignores, then renamed; a published version is never
    changed. Images are normalised by the caller: see `contract.Labelling`.

    Args:
        model: stock layers, float32; input `image` [None, H, W, C], output logits [None, classes].
        base: folder of the versions, TF Serving's `base_path`.
        labelling: its class names become the output `label`; all of it lies in `assets.extra/labelling.json`.
        check: called with the finished folder before it gets its number; by default it is reloaded and compared.

    Returns:
        The published `base/N`.

    Raises:
        ValueError: when the model cannot be exported faithfully.
        parity.ParityError: when the SavedModel does not compute what the model computes; nothing is published.
    """
    contract.require_exportable(model, labelling)
    check = check or parity.noise_check("saved_model", model, load_saved_model)

    def write(folder: Path) -> None:
        _write_archive(model, folder, labelling)
        atomic.write_text(folder / LABELLING_FILE, labelling.to_json())
        check(folder)

    return atomic.publish_directory(write, base)


def load_saved_model(path: str | os.PathLike) -> parity.Predict:
    """Loads a SavedModel without Keras and runs its default signature.

    Args:
        path: the version's folder, `base/N`.

    Returns:
        A function from normalised images float32 [B, H, W, C] to logits float32 [B, classes].
    """
    loaded = tf.saved_model.load(str(path))

    def predict(images: np.ndarray) -> np.ndarray:
        # Through `loaded`: a signature alone does not keep the variables alive.
        signature = loaded.signatures[DEFAULT_ENDPOINT]
        return signature(**{contract.INPUT_NAME: tf.constant(images)})[contract.OUTPUT_NAME].numpy()

    return predict


def _write_archive(model: keras.Model, folder: Path, labelling: contract.Labelling) -> None:
    core = parity.inference_function(model)  # one graph that all endpoints call, instead of a copy in each
    # No archive.track(model): add_endpoint finds the variables by itself, and tracking stores each of them twice.
    archive = keras.export.ExportArchive()
    for name, endpoint in ENDPOINTS.items():
        archive.add_endpoint(name, *endpoint(core, labelling))
    archive.write_out(folder, options=tf.saved_model.SaveOptions(save_debug_info=False), verbose=False)


def _outputs(logits: tf.Tensor, labelling: contract.Labelling) -> dict[str, tf.Tensor]:
    class_id = tf.argmax(logits, axis=-1, output_type=tf.int64)  # [B]
    return {
        contract.OUTPUT_NAME: logits,  # [B, classes]
        "probabilities": tf.nn.softmax(logits),  # [B, classes]
        "class_id": class_id,
        "label": tf.gather(
            tf.constant(labelling.class_names), class_id
        ),  # [B]; a constant needs no table to track
    }


def _normalised_images(core: tf.function, labelling: contract.Labelling) -> Endpoint:
    shape = [None, *labelling.image_shape]

    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        # A server does not enforce a signature's shape, and global pooling would hide a wrong one.
        return _outputs(core(tf.ensure_shape(image, shape)), labelling)

    return serve, [tf.TensorSpec(shape, tf.float32, name=contract.INPUT_NAME)]


ENDPOINTS: dict[str, Callable[[tf.function, contract.Labelling], Endpoint]] = {
    DEFAULT_ENDPOINT: _normalised_images,
}
