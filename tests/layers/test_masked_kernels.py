"""Masked convolutions against stock Keras layers, and what their gradients are."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.layers.masked_conv2d import MaskedConv2D
from hmnas_tf.layers.masked_depthwise_conv2d import MaskedDepthwiseConv2D
from hmnas_tf.layers.masked_kernel import halved
from hmnas_tf.layers.masked_pointwise import MaskedPointwise
from hmnas_tf.settings.paper import MASK_INITIAL, MASK_THRESHOLD

SHAPE = (2, 8, 7, 4)


def stock_of(layer):
    """Returns a stock model of one edge, its input padded by half the kernel on all sides."""
    image = keras.Input(SHAPE[1:])
    common = dict(use_bias=False, padding="valid")
    if isinstance(layer, MaskedPointwise):
        return keras.Model(image, keras.layers.Conv2D(layer.filters, 1, **common)(image))
    reach = layer.kernel_size // 2 * getattr(layer, "dilation_rate", 1)
    padded = keras.layers.ZeroPadding2D(reach)(image)
    common |= dict(kernel_size=layer.kernel_size, strides=layer.strides)
    if isinstance(layer, MaskedConv2D):
        return keras.Model(image, keras.layers.Conv2D(layer.filters, **common)(padded))
    return keras.Model(
        image, keras.layers.DepthwiseConv2D(dilation_rate=layer.dilation_rate, **common)(padded)
    )


CASES = {
    "conv 3x3": lambda: MaskedConv2D(6, 3),
    "conv 5x5": lambda: MaskedConv2D(6, 5),
    "conv 3x3 stride 2": lambda: MaskedConv2D(6, 3, strides=2),
    "depthwise 3x3": lambda: MaskedDepthwiseConv2D(3, edges=2),
    "depthwise 5x5": lambda: MaskedDepthwiseConv2D(5, edges=2),
    "depthwise 3x3 stride 2": lambda: MaskedDepthwiseConv2D(3, edges=2, strides=2),
    "depthwise 5x5 stride 2": lambda: MaskedDepthwiseConv2D(5, edges=2, strides=2),
    "depthwise 3x3 dilated": lambda: MaskedDepthwiseConv2D(3, edges=2, dilation_rate=2),
    "depthwise 5x5 dilated": lambda: MaskedDepthwiseConv2D(5, edges=2, dilation_rate=2),
    "pointwise": lambda: MaskedPointwise(6, edges=2),
}


@pytest.fixture(params=CASES)
def layer(request):
    made = CASES[request.param]()
    made.build((None, *SHAPE[1:]))
    return made


def results(layer, x) -> list:
    """Returns the results of all edges for one input each; a plain convolution has one edge."""
    return [layer(x[0])] if isinstance(layer, MaskedConv2D) else layer(x)


def kernels(layer, values) -> list[np.ndarray]:
    """Returns the kernels of all edges as stock layers have them."""
    values = np.asarray(values)
    if isinstance(layer, MaskedConv2D):
        return [values]
    return list(values[:, None, None] if isinstance(layer, MaskedPointwise) else values)


def edges(layer) -> int:
    return 1 if isinstance(layer, MaskedConv2D) else layer.edges


def test_fresh_layer_is_the_stock_convolution(layer, images):
    x = [images(*SHAPE, seed=e) for e in range(edges(layer))]
    stock = stock_of(layer)
    for own, image, kernel in zip(results(layer, x), x, kernels(layer, layer.kernel), strict=True):
        stock.set_weights([kernel])
        np.testing.assert_allclose(own, stock(image), rtol=1e-5, atol=1e-6)


def test_mask_takes_weights_away(layer, images, randomise):
    randomise(layer, density=0.5)
    assert 0.2 < layer.binary_mask().mean() < 0.8
    assert layer.binary_mask().dtype == bool
    np.testing.assert_array_equal(layer.binary_mask(), layer.real_mask.numpy() > MASK_THRESHOLD)
    x = [images(*SHAPE, seed=e) for e in range(edges(layer))]
    masked = np.where(layer.real_mask.numpy() > MASK_THRESHOLD, layer.kernel.numpy(), 0.0)
    np.testing.assert_array_equal(layer.masked_kernel(), masked)
    stock = stock_of(layer)
    for own, image, kernel in zip(results(layer, x), x, kernels(layer, masked), strict=True):
        stock.set_weights([kernel])
        np.testing.assert_allclose(own, stock(image), rtol=1e-5, atol=1e-6)


def test_gradients_of_kernel_and_mask(layer, images, randomise):
    """dL/dw = M * dL/d(w * M) and dL/dM^r = w * dL/d(w * M), with dL/d(w * M) from the stock layer."""
    randomise(layer, density=0.5)
    x = [tf.constant(images(*SHAPE, seed=e)) for e in range(edges(layer))]
    with tf.GradientTape() as tape:
        outer = [np.cos(np.arange(tf.size(y))).reshape(y.shape).astype("float32") for y in results(layer, x)]
        loss = tf.add_n([tf.reduce_sum(y * o) for y, o in zip(results(layer, x), outer, strict=True)])
    of_kernel, of_mask = tape.gradient(loss, [layer.kernel.value, layer.real_mask.value])
    w, m = layer.kernel.numpy(), layer.binary_mask()
    stock, expected = stock_of(layer), []
    for image, o, kernel in zip(x, outer, kernels(layer, w * m), strict=True):
        stock.set_weights([kernel])
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(stock(image) * o)
        expected.append(tape.gradient(loss, stock.trainable_variables[0].value).numpy())
    expected = np.reshape(expected, w.shape)
    np.testing.assert_allclose(of_kernel, expected * m, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(of_mask, expected * w, rtol=1e-4, atol=1e-4)
    assert np.all(of_kernel.numpy()[~m] == 0)
    assert np.any(of_mask.numpy()[~m] != 0)  # what fell to 0 can come back


@pytest.mark.parametrize(
    "make", [CASES["depthwise 3x3"], CASES["depthwise 5x5 stride 2"], CASES["pointwise"]]
)
def test_one_input_is_read_by_all_edges(make, images, randomise):
    layer, x = make(), images(*SHAPE)
    layer.build((None, *SHAPE[1:]))
    randomise(layer)
    for shared, own in zip(layer([x]), layer([x] * 2), strict=True):
        np.testing.assert_array_equal(shared, own)
    with pytest.raises(ValueError):
        layer([x] * 3)


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (MaskedConv2D(64, 3), 9 * 32),
        (MaskedDepthwiseConv2D(5, edges=20), 25),
        (MaskedPointwise(64, edges=4), 32),
    ],
)
def test_initial_values_are_he_normal_and_masks_are_above_the_threshold(layer, fan_in):
    layer.build((None, 8, 8, 32))
    kernel = layer.kernel.numpy()
    assert kernel.std() == pytest.approx(np.sqrt(2 / fan_in), rel=0.05)
    assert abs(kernel.mean()) < 0.1 * kernel.std()
    assert np.all(layer.real_mask.numpy() == np.float32(MASK_INITIAL))
    assert layer.binary_mask().all()
    np.testing.assert_array_equal(layer.masked_kernel(), kernel)


def test_stride_with_dilation_is_refused():
    with pytest.raises(ValueError, match="strides=2 together with dilation_rate=2"):
        MaskedDepthwiseConv2D(3, strides=2, dilation_rate=2)


@pytest.mark.parametrize("size", range(1, 10))
def test_halved_counts_the_pixels_that_a_slice_keeps(size):
    assert halved(size, 1) == size
    assert halved(size, 2) == len(range(size)[::2])
