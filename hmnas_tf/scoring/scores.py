"""Precision, recall and F1 of each class, their means, and the calibration error, of predictions that are counted."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

BINS = 15  # of equal width, of the probability of the predicted class (arXiv:1706.04599)
_DIGITS = 4  # behind the point of a percent


@dataclasses.dataclass(frozen=True, eq=False)
class Counts:
    """What `scores` needs to know of predictions; it can be added up over batches.

    Attributes:
        confusion: images by true and predicted class, [classes, classes].
        bins: of the images whose predicted class has a probability in ((m - 1) / BINS, m / BINS], for each m: their
            number, the sum of these probabilities, and how many are right, [BINS, 3].
    """

    confusion: np.ndarray
    bins: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray, classes: int) -> Counts:
        """Counts predictions.

        Args:
            labels: true classes, integers [N].
            predicted: the likeliest class of each image, integers [N].
            probabilities: of these classes, [N].
            classes: their number.
        """
        pairs = np.asarray(labels, np.int64) * classes + predicted
        confusion = np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
        places = np.clip(np.ceil(probabilities * BINS).astype(np.int64) - 1, 0, BINS - 1)
        columns = (None, probabilities, (labels == predicted).astype(np.float64))
        bins = [np.bincount(places, weights, minlength=BINS) for weights in columns]
        return cls(confusion, np.stack(bins, axis=1).astype(np.float64))


def likeliest(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the likeliest class of each image and its probability, [N] each, by logits [N, classes]."""
    odds = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return logits.argmax(axis=1), odds.max(axis=1) / odds.sum(axis=1)


def scores_of(labels: np.ndarray, logits: np.ndarray) -> dict[str, Any]:
    """Returns `scores` of logits [N, classes] of images with these labels, integers [N]."""
    return scores(Counts.of(labels, *likeliest(logits), logits.shape[1]))


def scores(counts: Counts) -> dict[str, Any]:
    """Returns how good predictions are, in percent, as `results.json` has it.

    Of a class c, precision is the share of the images taken for c that are of c, 0 if there are none; recall the share
    of the images of c that are taken for c; F1 their harmonic mean. A class without an image has none of them, and the
    means over the classes leave it out. The expected calibration error (Guo et al., arXiv:1706.04599, Eq. 3) is the
    mean distance, weighted by images, of a bin's share of right predictions from its mean probability.

    Returns:
        `precision`, `recall`, `f1` (a number or None for each class), `support` (images of each class), `macro` (the
        means of the three), and `calibration_error`.
    """
    right, support = np.diag(counts.confusion), counts.confusion.sum(axis=1)
    predicted = counts.confusion.sum(axis=0)
    by_class = {
        "precision": 100.0 * right / np.maximum(predicted, 1),
        "recall": 100.0 * right / np.maximum(support, 1),
        "f1": 200.0 * right / np.maximum(support + predicted, 1),
    }
    there = support > 0
    images, sums, hits = counts.bins.T
    error = 100.0 * float(np.abs(hits - sums).sum()) / max(float(images.sum()), 1.0)
    lists = {
        name: [
            round(float(value), _DIGITS) if seen else None for value, seen in zip(values, there, strict=True)
        ]
        for name, values in by_class.items()
    }
    return lists | {
        "support": [int(count) for count in support],
        "macro": {name: round(float(values[there].mean()), _DIGITS) for name, values in by_class.items()},
        "calibration_error": round(error, _DIGITS),
    }
