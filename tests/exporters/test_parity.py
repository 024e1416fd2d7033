"""The comparisons that decide whether an artifact is published."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.exporters import parity


def test_parity_is_relative_and_fails_on_nan_shape_and_another_class():
    expected = np.array([[1e-3, 0.0], [0.0, 1e-3]], np.float32)
    assert parity.require_equal_logits("x", expected, expected) == (0.0, 0.0)
    assert parity.require_equal_logits("x", expected * 0, expected * 0) == (0.0, 0.0)
    assert parity.require_equal_logits("x", expected[:, :1], expected[:, :1]) == (0.0, 0.0)
    absolute, relative = parity.require_equal_logits("x", expected, expected * np.float32(1 + 5e-6))
    assert absolute == pytest.approx(5e-9, rel=0.05)
    assert relative == pytest.approx(5e-6, rel=0.05)
    for received in (expected * 1.0001, expected * np.nan, expected[:1]):
        with pytest.raises(parity.ArtifactError):
            parity.require_equal_logits("x", expected, received)
    tie = np.array([[1.0, 1.0 - 1.5e-5]])
    parity.require_equal_logits("x", tie, tie + [[-9e-6, 9e-6]])
    near = np.array([[1.0, 1.0 - 1.5e-3]])
    with pytest.raises(parity.ArtifactError, match="1 of 1 images in another class"):
        parity.require_equal_logits("x", near, near[:, ::-1])


def test_a_wider_tolerance_lets_more_pass():
    expected = np.array([[1.0, 0.5]])
    with pytest.raises(parity.ArtifactError, match="within 1e-05"):
        parity.require_equal_logits("x", expected, expected * 1.005)
    assert parity.require_equal_logits("x", expected, expected * 1.005, 1e-2)[1] == pytest.approx(0.005)


def test_eight_bits_are_judged_by_their_test_error():
    labels = np.arange(100) % 2
    expected = np.eye(2)[labels]
    for wrong, passes in ((5, True), (6, False)):
        received = expected.copy()
        received[:wrong] = received[:wrong, ::-1]
        if passes:
            assert parity.require_similar_error("x", expected, received, labels) == (1.0, 1.0)
        else:
            with pytest.raises(parity.ArtifactError, match="at most 5 points .* received 6.00"):
                parity.require_similar_error("x", expected, received, labels)
    assert parity.require_similar_error("x", expected[:, ::-1], expected, labels) == (1.0, 1.0)  # a gain
    with pytest.raises(parity.ArtifactError):
        parity.require_similar_error("x", expected, np.where(expected == 1, np.inf, 0), labels)


def test_the_reference_is_the_model_itself(model, labelling, pixels, logits):
    predicted = parity.logits_of(model, labelling, pixels, 7)
    # The images of `logits` were normalised in float64 and ran without a graph: both round differently.
    assert np.abs(predicted - logits).max() <= parity.TOLERANCE * np.abs(logits).max()
    with pytest.raises((ValueError, TypeError, tf.errors.InvalidArgumentError)):
        parity.logits_of(model, labelling, np.zeros((1, 4, 8, 3), np.uint8), 7)
