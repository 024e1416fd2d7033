"""Is an artifact the model it was made of? Asked of every artifact before it gets its final name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from hmnas_tf.exporters import contract

Predict = Callable[
    [np.ndarray], np.ndarray
]  # float32 [B, H, W, C], normalised -> logits float32 [B, classes]
Check = Callable[[Path], None]  # given the artifact under its temporary name; raises to stop its publication

# Relative, because the logits of an untrained network are tiny and any absolute tolerance would pass them. Runtimes
# that sum in another order differ by 1e-7 to 2e-6.
TOLERANCE = 1e-5


class ParityError(RuntimeError):
    """An artifact does not compute what its model computes; it has not been published."""


def predict_function(model: keras.Model) -> Predict:
    """Returns the model's inference as a function of arrays.

    Not `model.predict`, which compiles with XLA when it can and then rounds differently.

    Args:
        model: input `image` float32 [None, H, W, C], output logits [None, classes].

    Returns:
        A function from normalised images float32 [B, H, W, C] to logits float32 [B, classes].
    """
    core = inference_function(model)
    return lambda images: core(tf.constant(images, tf.float32)).numpy()


def inference_function(model: keras.Model) -> tf.function:
    """Returns the model's inference as one traced graph with a free batch dimension and a fixed image shape.

    Args:
        model: input `image` float32 [None, H, W, C], output logits [None, classes].

    Returns:
        A `tf.function` from `image` float32 [None, H, W, C] to logits float32 [None, classes].
    """
    signature = [tf.TensorSpec(model.inputs[0].shape, tf.float32, name=contract.INPUT_NAME)]
    # Without autograph=False TensorFlow tries, and fails, to read the source of a lambda.
    return tf.function(lambda image: model(image, training=False), input_signature=signature, autograph=False)


def logits_of(predict: Predict, images: np.ndarray, batch_size: int) -> np.ndarray:
    """Returns the logits of all images, computed in batches.

    Args:
        predict: the model or an artifact.
        images: float32 [N, H, W, C], normalised; may be a memory map.
        batch_size: images at a time.

    Returns:
        Logits float32 [N, classes].
    """
    starts = range(0, len(images), batch_size)
    return np.concatenate([predict(np.asarray(images[start : start + batch_size])) for start in starts])


def require_equal_logits(artifact: str, expected: np.ndarray, received: np.ndarray) -> tuple[float, float]:
    """Compares an artifact's logits with its model's.

    Equal means `max|received - expected| / max|expected| <= TOLERANCE` and the same first class for every image whose
    lead over the second class is not itself below that tolerance.

    Args:
        artifact: its name, for the message.
        expected: the model's logits [N, classes].
        received: the artifact's logits [N, classes].

    Returns:
        The largest absolute difference in units of the logits, and the same divided by the largest logit.

    Raises:
        ParityError: naming both numbers when the artifact differs from its model.
    """
    if expected.shape != received.shape:
        raise ParityError(f"{artifact}: expected logits of shape {expected.shape}, received {received.shape}")
    scale = float(np.abs(expected).max())
    absolute = float(np.abs(received - expected).max())
    relative = absolute / scale if scale else absolute
    second, first = np.partition(expected, -2, axis=-1)[:, -2:].T if expected.shape[-1] > 1 else (0.0, np.inf)
    clear = first - second > TOLERANCE * scale
    moved = int(np.sum(clear & (expected.argmax(-1) != received.argmax(-1))))
    # `not <=` rather than `>`, so that NaN fails too.
    if moved or not relative <= TOLERANCE:
        raise ParityError(
            f"{artifact}: expected the model's logits within {TOLERANCE:g} of the largest and the same first class, "
            f"received a relative difference of {relative:.3g} (absolute {absolute:.3g}) and {moved} of "
            f"{len(expected)} images in another class; not published"
        )
    return absolute, relative


def noise_check(artifact: str, model: keras.Model, load: Callable[[Path], Predict]) -> Check:
    """Returns the check of an exporter that is given none: reload, run a batch of 3 and one of 1, compare.

    Loading alone proves little: a SavedModel without its variables loads and fails only when it runs.

    Args:
        artifact: its name, for the message.
        model: what the artifact was made of.
        load: how the artifact's own runtime reads it.

    Returns:
        A function of the artifact's path that raises `ParityError` when it differs from the model.
    """

    def check(path: Path) -> None:
        shape = (4, *model.inputs[0].shape[1:])
        images = np.random.default_rng(0).standard_normal(shape, np.float32)
        expected = logits_of(predict_function(model), images, 3)
        require_equal_logits(artifact, expected, logits_of(load(path), images, 3))

    return check
