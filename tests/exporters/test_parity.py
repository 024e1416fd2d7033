"""The comparison that decides whether an artifact is published."""

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
        with pytest.raises(parity.ParityError):
            parity.require_equal_logits("x", expected, received)
    near = np.array([[1.0, 1.0 - 1.5e-5]])
    with pytest.raises(parity.ParityError, match="1 of 1 images in another class"):
        parity.require_equal_logits("x", near, near + [[-9e-6, 9e-6]])
    tie = np.array([[1.0, 1.0 - 5e-6]])
    parity.require_equal_logits("x", tie, tie[:, ::-1])


def test_the_reference_is_the_model_itself(model, images, logits):
    predicted = parity.logits_of(parity.predict_function(model), images, 7)
    assert np.abs(predicted - logits).max() <= 1e-6 * np.abs(logits).max()
    with pytest.raises((ValueError, TypeError, tf.errors.InvalidArgumentError)):
        parity.predict_function(model)(np.zeros((1, 4, 8, 3), np.float32))
