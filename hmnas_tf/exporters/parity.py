"""Is an artifact the model it was made of? Asked of every artifact before it gets its final name."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from hmnas_tf.console.progress import Say, silent, watched
from hmnas_tf.data.augmentation import normalise
from hmnas_tf.data.rows import Images
from hmnas_tf.exporters import contract
from hmnas_tf.runtimes.keras_file import inference_function

# Relative, because the logits of an untrained network are tiny and any absolute tolerance would pass them. Runtimes
# that sum in another order differ by 1e-7 to 2e-6.
TOLERANCE = 1e-5
HALF_TOLERANCE = 1e-2  # of weights rounded to 16 bits
MOST_LOST = 5.0  # points of test error that 8 bits may cost; more means that the calibration went wrong


class ArtifactError(RuntimeError):
    """An artifact cannot be run or does not compute what its model computes; it has not been published."""


def inference_of(cargo: contract.Cargo) -> tf.function:
    """Returns the inference of a cargo's model, for `Cargo.once`."""
    return inference_function(cargo.model)


def logits_of(
    model: keras.Model,
    labelling: contract.Labelling,
    pixels: Images,
    batch_size: int,
    say: Say = silent,
) -> np.ndarray:
    """Returns the model's logits of images, computed in batches.

    Not `model.predict`, which compiles with XLA when it can and then rounds differently.

    Args:
        model: input `image` float32 [None, H, W, C], output logits [None, classes].
        labelling: how pixels are normalised.
        pixels: uint8 [N, H, W, C]; may be on disk.
        batch_size: images at a time.
        say: shows a line to the user.

    Returns:
        Logits float32 [N, classes].
    """
    core = inference_function(model)
    starts = watched(range(0, len(pixels), batch_size), say, "export: the model on the test images, batches")
    parts = (pixels[start : start + batch_size] for start in starts)
    return np.concatenate([core(normalise(part, labelling.mean, labelling.std)).numpy() for part in parts])


def require_equal_logits(
    artifact: str, expected: np.ndarray, received: np.ndarray, tolerance: float = TOLERANCE
) -> tuple[float, float]:
    """Compares an artifact's logits with its model's.

    Equal means `max|received - expected| / max|expected| <= tolerance` and the same first class for every image whose
    lead over the second class is not itself below that tolerance.

    Args:
        artifact: its name, for the message.
        expected: the model's logits [N, classes].
        received: the artifact's logits [N, classes].
        tolerance: relative.

    Returns:
        The largest absolute difference in units of the logits, and the same divided by the largest logit.

    Raises:
        ArtifactError: naming both numbers when the artifact differs from its model.
    """
    absolute, relative = difference(artifact, expected, received)
    scale = float(np.abs(expected).max())
    second, first = np.partition(expected, -2, axis=-1)[:, -2:].T if expected.shape[-1] > 1 else (0.0, np.inf)
    # Both logits may move by the tolerance, so that a lead of twice of it can be lost.
    clear = first - second > 2 * tolerance * scale
    moved = int(np.sum(clear & (expected.argmax(-1) != received.argmax(-1))))
    # `not <=` rather than `>`, so that NaN fails too.
    if moved or not relative <= tolerance:
        raise ArtifactError(
            f"{artifact}: expected the model's logits within {tolerance:g} of the largest and the same first class, "
            f"received a relative difference of {relative:.3g} (absolute {absolute:.3g}) and {moved} of "
            f"{len(expected)} images in another class; not published"
        )
    return absolute, relative


def require_similar_error(
    artifact: str, expected: np.ndarray, received: np.ndarray, labels: np.ndarray
) -> tuple[float, float]:
    """Compares the test error of an artifact of 8 bits, whose logits differ by design, with its model's.

    Args:
        artifact: its name, for the message.
        expected: the model's logits [N, classes].
        received: the artifact's logits [N, classes].
        labels: the classes, integers [N].

    Returns:
        As `require_equal_logits` does.

    Raises:
        ArtifactError: when a logit is not finite or the test error is more than `MOST_LOST` points above the model's.
    """
    absolute, relative = difference(artifact, expected, received)
    lost = test_error(received, labels) - test_error(expected, labels)
    if not (np.isfinite(absolute) and lost <= MOST_LOST):
        raise ArtifactError(
            f"{artifact}: expected at most {MOST_LOST:g} points of test error more than the model's, received "
            f"{lost:.2f} (relative difference {relative:.3g}); not published: calibrate with more training images"
        )
    return absolute, relative


def difference(artifact: str, expected: np.ndarray, received: np.ndarray) -> tuple[float, float]:
    """Returns the largest absolute difference of two arrays of logits, and the same divided by the largest logit."""
    if expected.shape != received.shape:
        raise ArtifactError(
            f"{artifact}: expected logits of shape {expected.shape}, received {received.shape}"
        )
    scale = float(np.abs(expected).max())
    absolute = float(np.abs(received - expected).max())
    return absolute, absolute / scale if scale else absolute


def test_error(logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns the share of images in another class than their own, in percent."""
    return 100.0 * float(np.mean(logits.argmax(-1) != labels))
