"""What operations read of a node, and the kernels behind it, against their plain forms."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.layers import fused
from hmnas_tf.layers.source import Source, subsample

SIZES = [(8, 8), (7, 5), (1, 1), (2, 3)]


def images(size: tuple[int, int], channels: int = 3) -> tf.Tensor:
    values = np.random.default_rng(0).standard_normal((2, *size, channels))
    return tf.constant(values.astype(np.float32))


@pytest.mark.parametrize("size", SIZES)
def test_every_second_pixel_is_that_of_a_slice(size):
    x = images(size)
    source = Source(x)
    positive = np.maximum(x.numpy(), 0.0)
    np.testing.assert_array_equal(source.relu, positive)
    np.testing.assert_array_equal(source.even, positive[:, ::2, ::2])
    np.testing.assert_array_equal(subsample(x, 2), x[:, ::2, ::2])
    padded = np.pad(positive, [[0, 0], [0, size[0] % 2], [0, size[1] % 2], [0, 0]])
    np.testing.assert_array_equal(source.odd, padded[:, 1::2, 1::2])


def test_a_form_is_computed_once():
    source = Source(images((4, 4)))
    assert source.relu is source.relu
    assert source.odd is source.odd


@pytest.mark.parametrize("size", SIZES)
def test_the_gradient_of_single_pixels_reaches_these_only(size):
    x = images(size)
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(2.0 * subsample(x, 2)) + tf.reduce_sum(3.0 * fused.odd_pixels(x))
    expected = np.zeros(x.shape)
    expected[:, ::2, ::2] = 2.0
    expected[:, 1::2, 1::2] = 3.0
    np.testing.assert_array_equal(tape.gradient(total, x), expected)


@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("size", [(8, 8), (7, 5), (4, 4)])
def test_dilated_kernels_and_their_gradients_are_those_of_stuffed_kernels(size, kernel_size):
    """A dilated kernel is one with zeros between its taps."""
    x = images(size)
    random = np.random.default_rng(1)
    kernels = [
        tf.constant(random.standard_normal((kernel_size, kernel_size, 3, 1)).astype(np.float32))
        for _ in range(2)
    ]

    def stuffed(kernel: tf.Tensor) -> tf.Tensor:
        places = tf.stack(tf.meshgrid(*[range(0, 2 * kernel_size - 1, 2)] * 2, indexing="ij"), -1)
        return tf.scatter_nd(places, kernel, [2 * kernel_size - 1] * 2 + [3, 1])

    with tf.GradientTape(persistent=True) as tape:
        tape.watch([x, *kernels])
        parts = fused.apart(x, 2)
        ours = [fused.together(fused.depthwise(parts, kernel), 2, size) for kernel in kernels]
        plain = [tf.nn.depthwise_conv2d(x, stuffed(kernel), [1, 1, 1, 1], "SAME") for kernel in kernels]
        sums = [tf.reduce_sum(tf.sin(tf.stack(results))) for results in (ours, plain)]
    np.testing.assert_allclose(tf.stack(ours), tf.stack(plain), atol=1e-5)
    for mine, theirs in zip(*(tape.gradient(total, [x, *kernels]) for total in sums), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-4)


def test_a_pointwise_convolution_is_a_matrix_product_of_pixels():
    x, kernel = images((4, 3)), tf.constant(np.random.default_rng(2).random((3, 5)).astype(np.float32))
    np.testing.assert_allclose(fused.pointwise(x, kernel), x.numpy() @ kernel.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("kernel_size", [3, 5, 7])
@pytest.mark.parametrize("size", [(9, 8), (7, 5), (2, 3)])
def test_a_depthwise_convolution_and_its_gradients_are_those_of_stacked_pixels(size, kernel_size, strides):
    x = images(size)
    random = np.random.default_rng(3)
    kernel = tf.constant(random.standard_normal((kernel_size, kernel_size, 3, 1)).astype(np.float32))
    around = [kernel_size // 2] * 2

    def plain(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """Adds every tap's shifted image, times the tap."""
        height, width = size
        padded = tf.pad(x, [[0, 0], around, around, [0, 0]])
        taps = [
            padded[:, i : i + height : strides, j : j + width : strides] * kernel[i, j, :, 0]
            for i in range(kernel_size)
            for j in range(kernel_size)
        ]
        return tf.add_n(taps)

    with tf.GradientTape(persistent=True) as tape:
        tape.watch([x, kernel])
        results = [fused.depthwise(x, kernel, strides), plain(x, kernel)]
        sums = [tf.reduce_sum(tf.sin(result)) for result in results]
    np.testing.assert_allclose(*results, atol=1e-5)
    for mine, theirs in zip(*(tape.gradient(total, [x, kernel]) for total in sums), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-4)


def test_shared_results_are_added_by_the_weights_of_each_edge():
    shared = [images((4, 3)), 2.0 + images((4, 3))]
    weights = tf.constant([[1.0, 0.5], [0.0, 2.0], [-1.0, 0.0]])
    with tf.GradientTape() as tape:
        tape.watch([*shared, weights])
        edges = fused.combine(shared, weights)
        total = sum((e + 1.0) * tf.reduce_sum(edge) for e, edge in enumerate(edges))
    for row, edge in zip(weights.numpy(), edges, strict=True):
        np.testing.assert_allclose(edge, row[0] * shared[0] + row[1] * shared[1], atol=1e-6)
    *of_shared, of_weights = tape.gradient(total, [*shared, weights])
    expected = np.outer([1.0, 2.0, 3.0], [tf.reduce_sum(x) for x in shared])
    np.testing.assert_allclose(of_weights, expected, rtol=1e-4)
    for k, gradient in enumerate(of_shared):
        np.testing.assert_allclose(gradient, np.full(gradient.shape, [1.0, 2.0, 3.0] @ weights.numpy()[:, k]))
