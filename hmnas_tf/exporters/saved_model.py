"""SavedModel: a servable for TF Serving, `base/N`, with one graph behind several endpoints.

Add an endpoint by a function from (core, labelling) to (function, signature) and a line in `ENDPOINTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from hmnas_tf.data.augmentation import normalise
from hmnas_tf.data.image_files import FULL
from hmnas_tf.data.resizing import fit
from hmnas_tf.exporters import contract, parity, serving_files
from hmnas_tf.exporters.contract import Cargo, Labelling
from hmnas_tf.runtimes.__main__ import EXAMINED
from hmnas_tf.runtimes.saved_model_folder import LABELLING
from hmnas_tf.runtimes.serving_requests import CLASSIFY, EXAMPLE_FEATURE
from hmnas_tf.storage import atomic

DEFAULT_ENDPOINT = "serving_default"
ENCODED = (1, 3, 4)  # numbers of channels that an encoded image can have

Endpoint = tuple[Callable[..., dict[str, tf.Tensor]], list[tf.TensorSpec]]


def export_saved_model(cargo: Cargo, base: Path, check: contract.Check) -> Path:
    """Publishes the model as the next version below `base`, from which TF Serving picks it up.

    The version is written and checked under a name that a server ignores, then renamed; a published version is never
    changed. With it go warm-up requests and, beside `base`, the server's configuration: see `serving_files`.

    Args:
        cargo: what to publish; its class names become the output `label`, all of its labelling lies in `assets.extra`.
        base: folder of the versions, TF Serving's `base_path`.
        check: called with the finished folder before it gets its number.

    Returns:
        The published `base/N`.

    Raises:
        ArtifactError: from `check`; nothing is published.
    """

    def write(folder: Path) -> None:
        _write_archive(cargo, folder)
        atomic.write_text(folder / LABELLING, cargo.labelling.to_json())
        serving_files.write_warmup(folder, cargo.labelling, endpoints(cargo.labelling))
        check(folder)

    version = atomic.publish_directory(write, base)
    serving_files.write_configuration(base.parent / "serving")
    return version


def endpoints(labelling: Labelling) -> list[str]:
    """Returns the names of the endpoints.

    Those for encoded images need a number of channels that has a format, and the white of 16 bits: TensorFlow decodes
    files to 8 bits by it, whatever was white in training.
    """
    decodable = labelling.image_shape[-1] in ENCODED and labelling.white == FULL
    return [name for name in ENDPOINTS if name not in OF_FILES or decodable]


def compare(found: Mapping[str, np.ndarray], expected: np.ndarray, labelling: Labelling) -> None:
    """Compares what the endpoints for pixels and for files made of test images with what the model does.

    Args:
        found: of `runtimes.saved_model_folder`.
        expected: the model's logits [N, classes] of all test images, the first of which were shown.
        labelling: what the labels should be.

    Raises:
        ArtifactError: naming the endpoint.
    """
    names = np.array([name.encode() for name in labelling.class_names])
    expected = expected[:EXAMINED]
    for endpoint in endpoints(labelling):
        if endpoint in (DEFAULT_ENDPOINT, CLASSIFY):
            continue
        logits = found[f"{endpoint}:{contract.OUTPUT_NAME}"]
        parity.require_equal_logits(endpoint, expected, logits)
        _require_labels(endpoint, names[logits.argmax(-1)], found[f"{endpoint}:label"])
        _require_labels(endpoint, logits.argmax(-1), found[f"{endpoint}:class_id"])
    if CLASSIFY in endpoints(labelling):
        logits = found[f"serving_bytes:{contract.OUTPUT_NAME}"]
        _require_labels(CLASSIFY, names[logits.argmax(-1)], found[f"{CLASSIFY}:classes"][:, 0])


def _require_labels(endpoint: str, expected: np.ndarray, received: np.ndarray) -> None:
    if not np.array_equal(expected, received):
        raise parity.ArtifactError(
            f"saved_model: {endpoint}: expected the labels {expected.tolist()}, received {received.tolist()}; not "
            "published"
        )


def _write_archive(cargo: Cargo, folder: Path) -> None:
    core = cargo.once(parity.inference_of)  # one graph that all endpoints call, instead of a copy in each
    # No archive.track(model): add_endpoint finds the variables by itself, and tracking stores each of them twice.
    archive = keras.export.ExportArchive()
    for name in endpoints(cargo.labelling):
        archive.add_endpoint(name, *ENDPOINTS[name](core, cargo.labelling))
    archive.write_out(folder, options=tf.saved_model.SaveOptions(save_debug_info=False), verbose=False)


def _outputs(logits: tf.Tensor, labelling: Labelling) -> dict[str, tf.Tensor]:
    class_id = tf.argmax(logits, axis=-1, output_type=tf.int64)  # [B]
    return {
        contract.OUTPUT_NAME: logits,  # [B, classes]
        contract.PROBABILITIES_NAME: tf.nn.softmax(logits),  # [B, classes]
        "class_id": class_id,
        "label": tf.gather(_names(labelling), class_id),  # [B]
    }


def _names(labelling: Labelling) -> tf.Tensor:
    return tf.constant(labelling.class_names)  # not a table, which would have to be tracked


def _normalised_images(core: tf.function, labelling: Labelling) -> Endpoint:
    """Takes `image` float32 [B, H, W, C], normalised."""
    shape = [None, *labelling.image_shape]

    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        # A server does not enforce a signature's shape, and global pooling would hide a wrong one.
        return _outputs(core(tf.ensure_shape(image, shape)), labelling)

    return serve, [tf.TensorSpec(shape, tf.float32, name=contract.INPUT_NAME)]


def _pixels(core: tf.function, labelling: Labelling) -> Endpoint:
    """Takes `image` uint8 [B, H, W, C]."""
    shape = [None, *labelling.image_shape]

    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return _outputs(core(_normalised(tf.ensure_shape(image, shape), labelling)), labelling)

    return serve, [tf.TensorSpec(shape, tf.uint8, name=contract.INPUT_NAME)]


def _files(core: tf.function, labelling: Labelling) -> Endpoint:
    """Takes `image_bytes`, strings [B]: encoded images of any size."""

    def serve(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return _outputs(core(_decoded(image_bytes, labelling)), labelling)

    return serve, [tf.TensorSpec([None], tf.string, name="image_bytes")]


def _examples(core: tf.function, labelling: Labelling) -> Endpoint:
    """Takes `inputs`, serialised tf.Examples [B] with `image/encoded`; returns all classes, the likeliest first."""

    def serve(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        features = tf.io.parse_example(inputs, {EXAMPLE_FEATURE: tf.io.FixedLenFeature([], tf.string)})
        logits = core(_decoded(features[EXAMPLE_FEATURE], labelling))
        scores, order = tf.math.top_k(tf.nn.softmax(logits), len(labelling.class_names))
        return {"classes": tf.gather(_names(labelling), order), "scores": scores}  # [B, classes] each

    return serve, [tf.TensorSpec([None], tf.string, name="inputs")]


def _normalised(pixels: tf.Tensor, labelling: Labelling) -> tf.Tensor:
    return normalise(pixels, labelling.mean, labelling.std)


def _decoded(files: tf.Tensor, labelling: Labelling) -> tf.Tensor:
    """Returns images, normalised, brought to size as those of a data set of files are; docs/serving.md on decoding."""
    height, width, channels = labelling.image_shape

    def decode(file: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_image(file, channels=channels, expand_animations=False)
        image.set_shape([None, None, channels])
        return fit(image, height, width, labelling.resized)

    pixels = tf.map_fn(decode, files, fn_output_signature=tf.TensorSpec(labelling.image_shape, tf.uint8))
    return _normalised(pixels, labelling)


ENDPOINTS: dict[str, Callable[[tf.function, Labelling], Endpoint]] = {
    DEFAULT_ENDPOINT: _normalised_images,
    "serving_uint8": _pixels,
    "serving_bytes": _files,
    CLASSIFY: _examples,
}
OF_FILES = ("serving_bytes", CLASSIFY)
