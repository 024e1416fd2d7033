"""FactorizedReduce and the preprocessing of a cell's inputs against NumPy."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest

from hmnas_tf.layers.factorized_reduce import FactorizedReduce
from hmnas_tf.layers.relu_pointwise_norm import ReluPointwiseNorm


def normalised(y, norm, batch_norm, edge=0):
    names = ("moving_mean", "moving_variance", "gamma", "beta")
    return batch_norm(y, *(getattr(norm, name).numpy()[edge] for name in names))


def masked(layer, edge=0):
    return np.where(layer.real_mask.numpy() > 5e-3, layer.kernel.numpy(), 0)[edge]


@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 7), (8, 7), (7, 8), (2, 2), (1, 1)])
def test_pixels_of_both_phases_are_read(height, width, images, randomise, batch_norm):
    """The second half reads pixel (2i+1, 2j+1), zero where an odd size has none."""
    x, layer = images(2, height, width, 3), FactorizedReduce(4, edges=2, affine=True)
    layer.build((None, height, width, 3))
    randomise(layer)
    positive = np.maximum(x, 0)
    padded = np.pad(positive, [(0, 0), (0, height % 2), (0, width % 2), (0, 0)])
    factors = np.array([0.5, 2.0], np.float32)
    for edge, result in enumerate(layer(x, factors, training=False)):
        even = positive[:, ::2, ::2] @ masked(layer.even, edge)
        odd = padded[:, 1::2, 1::2] @ masked(layer.odd, edge)
        expected = normalised(np.concatenate([even, odd], -1), layer.batch_norm, batch_norm, edge)
        np.testing.assert_allclose(result, expected * factors[edge], rtol=1e-4, atol=1e-5)


def test_of_an_odd_number_of_channels_the_first_half_has_one_more(images, randomise):
    x, layer = images(2, 4, 4, 3), FactorizedReduce(5)
    layer.build((None, 4, 4, 3))
    randomise(layer)
    assert [half.filters for half in (layer.even, layer.odd)] == [3, 2]
    assert layer(x, training=False)[0].shape == (2, 2, 2, 5)


def test_less_than_two_channels_are_refused():
    with pytest.raises(ValueError, match="channels=1 must be at least 2"):
        FactorizedReduce(1)


def test_preprocessing_is_relu_pointwise_norm(images, randomise, batch_norm):
    x, layer = images(2, 5, 6, 3), ReluPointwiseNorm(4, affine=True)
    layer.build((None, 5, 6, 3))
    randomise(layer)
    expected = normalised(np.maximum(x, 0) @ masked(layer.pointwise), layer.batch_norm, batch_norm)
    np.testing.assert_allclose(layer(x, training=False)[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 7), (8, 7), (2, 1)])
def test_a_pool_halves_before_the_rest_of_preprocessing(height, width, images, randomise, batch_norm):
    """Of an even size the windows begin at every second pixel, of an odd one they stand around it."""
    x, layer = images(2, height, width, 3), ReluPointwiseNorm(4, strides=2, affine=True)
    layer.build((None, height, width, 3))
    randomise(layer)
    pads = [(0, 0), (height % 2, 1), (width % 2, 1), (0, 0)]
    padded = np.pad(x, pads, constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::2, ::2]
    positive = np.maximum(windows.max(axis=(-2, -1)), 0)
    expected = normalised(positive @ masked(layer.pointwise), layer.batch_norm, batch_norm)
    assert layer(x, training=False)[0].shape == (2, -(-height // 2), -(-width // 2), 4)
    np.testing.assert_allclose(layer(x, training=False)[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "make", [ReluPointwiseNorm, functools.partial(ReluPointwiseNorm, strides=2), FactorizedReduce]
)
@pytest.mark.parametrize("size", [8, 7])
def test_stock_form_reads_only_the_channels_that_exist(make, size, images, randomise):
    """With `inputs` it computes what the layer computes when the other channels are 0."""
    layer, kept = make(4), np.array([0, 3, 4])
    layer.build((None, size, size, 6))
    randomise(layer)
    x = images(2, size, size, 6)
    without = np.zeros_like(x)
    without[..., kept] = x[..., kept]
    image = keras.Input((size, size, 3))
    model = keras.Model(image, layer.stock(image, "reduced", inputs=kept))
    assert {part.kernel.shape[-2] for part in model.layers if hasattr(part, "kernel")} == {3}
    np.testing.assert_allclose(
        model(x[..., kept], training=False), layer(without, training=False)[0], rtol=1e-4, atol=1e-5
    )
