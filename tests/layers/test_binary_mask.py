"""Eq. 4 and its straight-through gradient."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.layers.binary_mask import binarize

TAU = np.float32(5e-3)
UP, DOWN = np.nextafter(TAU, np.float32(1)), np.nextafter(TAU, np.float32(-1))


@pytest.mark.parametrize(
    ("value", "expected"),
    [(TAU, 0), (UP, 1), (DOWN, 0), (1e-2, 1), (0, 0), (-1e-2, 0), (3e30, 1), (-3e30, 0), (1e-30, 0)],
)
def test_values_are_exactly_zero_or_one_and_equality_is_zero(value, expected):
    result = binarize(tf.constant(value, tf.float32), TAU)
    assert result.dtype == tf.float32
    assert result.numpy() == expected


def test_random_masks_are_compared_with_the_threshold_elementwise():
    real = np.random.default_rng(0).normal(5e-3, 5e-3, (3, 4, 5)).astype("float32")
    result = binarize(tf.constant(real), TAU).numpy()
    assert result.dtype == np.float32
    assert 0 < result.sum() < result.size
    np.testing.assert_array_equal(result, (real > TAU).astype("float32"))


def test_gradient_of_the_mask_is_the_gradient_of_the_real_mask():
    random = np.random.default_rng(1)
    real = tf.Variable(random.normal(5e-3, 1.0, (6, 7)).astype("float32"))
    outer = random.standard_normal((6, 7)).astype("float32")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(outer * binarize(real, TAU) ** 2)
    expected = 2 * outer * (real.numpy() > TAU)  # of the square: the value is 0 or 1
    np.testing.assert_array_equal(tape.gradient(loss, real).numpy(), expected)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(outer * binarize(real, TAU))
    np.testing.assert_array_equal(tape.gradient(loss, real).numpy(), outer)  # no clamping anywhere
