"""The teacher of fine-tuning: a `.keras` file of stock layers, checked, and brought to this run's images."""

from __future__ import annotations

import json
import zipfile
from typing import Any

import keras
import numpy as np

from hmnas_tf.data import ImageDataset
from hmnas_tf.data.augmentation import normalise
from hmnas_tf.data.centre import as_evaluated
from hmnas_tf.exporters.contract import labelling_of
from hmnas_tf.runtimes.archive import read_labelling

SHOWN = 32  # images, by whose outputs probabilities are told from logits


def load_teacher(path: str, dataset: ImageDataset) -> keras.Model:
    """Returns a network from images that are normalised as a run on these images has them to logits.

    A file that this project exported takes images as its own labelling says; any other one takes pixels of 0 to 255,
    as Keras hands them out. Where its outputs are probabilities, their logarithms are taken.

    Raises:
        ValueError: one line, if it cannot be loaded without code of others, or its images or classes are others.
    """
    try:
        network = keras.models.load_model(path, compile=False)
    except Exception as error:  # of many kinds, by what the file is
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ValueError(
            f"teacher={path!r} cannot be loaded ({reason}): expected a .keras file of stock Keras layers."
        ) from error
    _require_fit(path, network, dataset)
    network.trainable = False
    mean, std = np.array(dataset.mean), np.array(dataset.std)
    held = _labelling(path)
    if held:
        names = list(labelling_of(dataset).class_names)
        if held["class_names"] != names:
            raise ValueError(
                f"teacher={path!r} knows the classes {held['class_names']}, in this order, but the images {names}: "
                "take a teacher of the same classes."
            )
        scale, offset = std / held["std"], (mean - held["mean"]) / held["std"]
    else:
        scale, offset = 255.0 * std, 255.0 * mean
    image = keras.Input(dataset.image_shape)
    rescaling = keras.layers.Rescaling(scale.tolist(), offset.tolist(), dtype="float32")
    output = network(rescaling(image), training=False)
    sound = keras.Model(image, output)
    images = normalise(as_evaluated(dataset, slice(SHOWN)), dataset.mean, dataset.std)
    shown = sound(images, training=False)
    if _are_probabilities(np.asarray(shown)):
        least = float(np.finfo(np.float32).tiny)
        sound = keras.Model(image, keras.ops.log(keras.ops.maximum(output, least)))
    return sound


def _require_fit(path: str, network: Any, dataset: ImageDataset) -> None:
    inputs, outputs = (getattr(network, name, None) or () for name in ("inputs", "outputs"))
    shapes = [[tuple(tensor.shape) for tensor in tensors] for tensors in (inputs, outputs)]
    images, classes = (None, *dataset.image_shape), (None, dataset.num_classes)
    for what, found, expected in (("images", shapes[0], images), ("classes", shapes[1], classes)):
        fits = len(found) == 1 and len(found[0]) == len(expected)
        if not fits or any(a not in (None, b) for a, b in zip(found[0][1:], expected[1:], strict=True)):
            raise ValueError(
                f"teacher={path!r} has {what} of the shape {found}, but those of this run have {list(expected)}: "
                "take a teacher that was trained on such images, or build its preprocessing into it."
            )


def _labelling(path: str) -> dict[str, Any] | None:
    """Returns what an exported file says of its images, None for a file of others."""
    try:
        return json.loads(read_labelling(path))
    except (KeyError, zipfile.BadZipFile):
        return None


def _are_probabilities(outputs: np.ndarray) -> bool:
    return bool((outputs >= 0).all() and np.allclose(outputs.sum(axis=-1), 1.0, atol=1e-3))
