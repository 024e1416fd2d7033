"""Scores against scikit-learn's, the calibration error against its definition written as a loop."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from hmnas_tf.scoring.scores import BINS, Counts, likeliest, scores, scores_of

CASES = [  # classes, images, classes without an image, classes without a prediction
    (2, 30, (), ()),
    (5, 200, (), ()),
    (5, 200, (3,), ()),
    (5, 200, (), (0, 4)),
    (6, 100, (1,), (1, 2)),
    (10, 3, (), ()),
    (3, 40, (0, 1), (2,)),
]


def drawn(classes, images, absent, never, seed) -> tuple[np.ndarray, np.ndarray]:
    """Labels and logits that are right more often than not."""
    random = np.random.default_rng(seed)
    labels = random.choice([c for c in range(classes) if c not in absent], images)
    logits = random.normal(size=(images, classes)) + 1.5 * np.eye(classes)[labels]
    logits[:, list(never)] = -50.0
    return labels, logits.astype(np.float32)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("case", CASES, ids=str)
def test_scores_are_those_of_scikit_learn(case, seed):
    labels, logits = drawn(*case, seed)
    predicted = logits.argmax(axis=1)
    there = np.unique(labels)
    found = scores_of(labels, logits)
    every = precision_recall_fscore_support(labels, predicted, labels=range(case[0]), zero_division=0)
    for name, expected in zip(("precision", "recall", "f1", "support"), every, strict=True):
        for label in there:
            scale = 1 if name == "support" else 100
            assert found[name][label] == pytest.approx(scale * expected[label], abs=1e-4), name
    averaged = precision_recall_fscore_support(
        labels, predicted, labels=there, average="macro", zero_division=0
    )
    for name, expected in zip(("precision", "recall", "f1"), averaged, strict=False):
        assert found["macro"][name] == pytest.approx(100 * expected, abs=1e-4)
    assert sum(found["support"]) == case[1]
    for label in set(range(case[0])) - set(there.tolist()):
        assert [found[name][label] for name in ("precision", "recall", "f1", "support")] == [
            None,
            None,
            None,
            0,
        ]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_calibration_error_is_that_of_the_definition(case, seed):
    labels, logits = drawn(*case, seed)
    predicted, probabilities = likeliest(logits)
    softmax = np.exp(logits.astype(np.float64))
    softmax /= softmax.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, softmax.max(axis=1), rtol=1e-12)
    expected = 0.0
    for m in range(1, BINS + 1):
        own = [i for i, p in enumerate(probabilities) if (m - 1) / BINS < p <= m / BINS]
        if own:
            accuracy = np.mean([labels[i] == predicted[i] for i in own])
            expected += len(own) / len(labels) * abs(accuracy - probabilities[own].mean())
    assert scores_of(labels, logits)["calibration_error"] == pytest.approx(100 * expected, abs=1e-4)


def test_a_network_that_is_sure_and_right_has_no_calibration_error_and_one_that_is_sure_and_wrong_has_all():
    logits = 100 * np.eye(3, dtype=np.float32)
    assert scores_of(np.arange(3), logits)["calibration_error"] == 0
    assert scores_of(np.array([1, 2, 0]), logits)["calibration_error"] == 100


def test_counts_add_up_over_batches():
    labels, logits = drawn(4, 60, (), (), 0)
    whole = Counts.of(labels, *likeliest(logits), 4)
    parts = [Counts.of(labels[i : i + 20], *likeliest(logits[i : i + 20]), 4) for i in (0, 20, 40)]
    summed = Counts(sum(part.confusion for part in parts), sum(part.bins for part in parts))
    assert scores(summed) == scores(whole)


def test_scores_are_json():
    labels, logits = drawn(5, 50, (3,), (0,), 0)
    found = scores_of(labels, logits)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
