"""Every candidate operation: shapes, parallel edges, stock form, references in NumPy and plain TF."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.layers.operation import Operation
from hmnas_tf.layers.operations import OPERATIONS, SeparableUnit

C = 4
WEIGHTS = np.array([0.5, 1.5, 0.25], np.float32)


def build(name: str, strides: int, size: int, edges: int = 1, affine: bool = True):
    layer = OPERATIONS[name](C, edges=edges, strides=strides, affine=affine)
    layer.build((None, size, size, C))
    return layer


every_operation = pytest.mark.parametrize("name", sorted(OPERATIONS))
every_shape = pytest.mark.parametrize(("strides", "size"), [(1, 8), (1, 7), (2, 8), (2, 7)])


@every_operation
@every_shape
def test_shape(name, strides, size, images):
    expected = (2, -(-size // strides), -(-size // strides), C)
    layer = build(name, strides, size, edges=3)
    assert layer.output_shape_for((2, size, size, C)) == expected
    for training in (False, True):
        results = layer(images(2, size, size, C), WEIGHTS, training=training)
        assert [result.shape for result in results] == [expected] * 3
        assert all(np.isfinite(result).all() for result in results)


@every_operation
@pytest.mark.parametrize(("strides", "size"), [(1, 8), (2, 7)])
@pytest.mark.parametrize("training", [False, True])
def test_parallel_edges_are_separate_operations(name, strides, size, training, images, randomise):
    """Three edges at once compute and learn what three layers do; `weights` multiplies the results."""
    x, together = images(2, size, size, C), randomise(build(name, strides, size, edges=3))
    alone = [build(name, strides, size) for _ in range(3)]
    for edge, layer in enumerate(alone):
        for own, variable in zip(layer.variables, together.variables, strict=True):
            shared = variable.shape[0] == 1  # statistics of a pool, which all edges share
            own.assign(variable[:] if shared else variable[edge : edge + 1])
    results = together(x, WEIGHTS, training=training)
    for edge, (result, layer) in enumerate(zip(results, alone, strict=True)):
        (expected,) = layer(x, training=training)
        np.testing.assert_allclose(result, WEIGHTS[edge] * expected, rtol=1e-4, atol=1e-5)
        for own, variable in zip(layer.variables, together.variables, strict=True):
            value = variable[:] if variable.shape[0] == 1 else variable[edge : edge + 1]
            np.testing.assert_allclose(own.numpy(), value, rtol=1e-5, atol=1e-6)


@every_operation
@every_shape
def test_stock_layers_compute_every_edge(name, strides, size, images, randomise):
    affine = size == 7
    x, layer = (
        images(2, size, size, C),
        randomise(build(name, strides, size, edges=3, affine=affine), density=0.6),
    )
    for edge, expected in enumerate(layer(x, WEIGHTS, training=False)):
        image = keras.Input((size, size, C))
        model = keras.Model(image, layer.stock(image, f"edge{edge}", edge, WEIGHTS[edge]))
        assert {type(part).__module__.partition(".")[0] for part in model.layers} == {"keras"}
        assert all(part.name.startswith(f"edge{edge}_") for part in model.layers[1:])
        np.testing.assert_allclose(model(x, training=False), expected, rtol=1e-4, atol=1e-5)


def convolved(x: np.ndarray, unit: SeparableUnit, strides: int, dilation: int, edge: int = 0) -> np.ndarray:
    """ReLU, depthwise convolution of an explicitly padded input, 1x1 convolution: before batch normalization.

    A dilated one is taken at stride 1 and then sub-sampled, because TF cannot do both at once.
    """
    kernel = np.asarray(unit.depthwise.kernel * unit.depthwise.binary_mask())[edge]
    reach = dilation * (kernel.shape[0] // 2)
    padded = np.pad(np.maximum(x, 0), [(0, 0), (reach, reach), (reach, reach), (0, 0)])
    steps = strides if dilation == 1 else 1
    y = tf.nn.depthwise_conv2d(padded, kernel, [1, steps, steps, 1], "VALID", dilations=[dilation, dilation])
    y = y[:, :: strides // steps, :: strides // steps]
    return np.einsum(
        "bhwc,cf->bhwf", y, np.asarray(unit.pointwise.kernel * unit.pointwise.binary_mask())[edge]
    )


def normalised(y: np.ndarray, norm, batch_norm, edge: int = 0) -> np.ndarray:
    """Batch normalization by moving averages."""
    names = ("moving_mean", "moving_variance", "gamma", "beta")
    return batch_norm(y, *(getattr(norm, name).numpy()[edge] for name in names))


@pytest.mark.parametrize("name", ["sep_conv_3x3", "sep_conv_5x5"])
@every_shape
def test_separable_convolution_is_applied_twice_and_padded_evenly(
    name, strides, size, images, randomise, batch_norm
):
    x, layer = images(2, size, size, C), randomise(build(name, strides, size))
    assert {layer.first.kernel_size, layer.second.kernel_size} == {int(name[-1])}
    y = normalised(convolved(x, layer.first, strides, 1), layer.first.batch_norm, batch_norm)
    y = normalised(convolved(y, layer.second, 1, 1), layer.second.batch_norm, batch_norm)
    np.testing.assert_allclose(layer(x, training=False)[0], y, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["dil_conv_3x3", "dil_conv_5x5"])
@every_shape
def test_dilated_convolution_is_the_true_one_at_both_strides(
    name, strides, size, images, randomise, batch_norm
):
    x, layer = images(2, size, size, C), randomise(build(name, strides, size))
    assert layer.kernel_size == int(name[-1])
    y = normalised(convolved(x, layer, strides, 2), layer.batch_norm, batch_norm)
    np.testing.assert_allclose(layer(x, training=False)[0], y, rtol=1e-3, atol=1e-4)


def pooled(x: np.ndarray, strides: int, reduce) -> np.ndarray:
    """A 3x3 window around every `strides`-th pixel, cut off at the border."""
    _, height, width, _ = x.shape
    rows = [
        [reduce(x[:, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2], (1, 2)) for j in range(0, width, strides)]
        for i in range(0, height, strides)
    ]
    return np.moveaxis(np.array(rows), 2, 0)


@pytest.mark.parametrize(("name", "reduce"), [("avg_pool_3x3", np.mean), ("max_pool_3x3", np.max)])
@every_shape
def test_pools_leave_the_border_out(name, reduce, strides, size, images, randomise, batch_norm):
    """All values are negative: zeros of a padded border would show in the maximum, and shrink the mean."""
    x, layer = -1.0 - np.abs(images(2, size, size, C)), randomise(build(name, strides, size))
    expected = normalised(pooled(x, strides, reduce), layer.batch_norm, batch_norm)
    np.testing.assert_allclose(layer(x, training=False)[0], expected, rtol=1e-4, atol=1e-5)


@every_shape
def test_identity_is_the_input_or_a_factorized_reduce(strides, size, images, randomise):
    x, layer = images(2, size, size, C), randomise(build("identity", strides, size))
    if strides == 1:
        assert layer.variables == []
        np.testing.assert_array_equal(layer(x)[0], x)
    else:
        np.testing.assert_array_equal(layer(x)[0], layer.reduce(x)[0])


@every_shape
def test_none_is_zero(strides, size, images):
    layer = build("none", strides, size)
    assert layer.variables == []
    assert not np.any(layer(images(2, size, size, C))[0])


@pytest.mark.parametrize("strides", [1, 2])
def test_number_of_weights(strides):
    """DARTS, without affine batch normalization: a separable unit has k*k*C + C*C weights."""
    expected = {
        "avg_pool_3x3": 0,
        "conv_1x1": C * C,
        "conv_3x3": 9 * C * C,
        "dil_conv_3x3": 9 * C + C * C,
        "dil_conv_5x5": 25 * C + C * C,
        "identity": 0 if strides == 1 else C * C,
        "max_pool_3x3": 0,
        "mbconv_3x3": 3 * (C * C + 9 * C + C * C),
        "mbconv_5x5": 3 * (C * C + 25 * C + C * C),
        "none": 0,
        "sep_conv_3x3": 2 * (9 * C + C * C),
        "sep_conv_5x5": 2 * (25 * C + C * C),
    }
    counts = {}
    for name in OPERATIONS:
        layer = build(name, strides, 8, affine=False)
        sizes = [(variable.name, int(np.prod(variable.shape))) for variable in layer.trainable_variables]
        counts[name] = sum(size for variable, size in sizes if variable != "real_mask")
        assert sum(size for variable, size in sizes if variable == "real_mask") == counts[name]
    assert counts == expected


def test_stride_2_with_an_odd_dilation_is_refused():
    """The short-cut of reading every second pixel needs taps that lie on such pixels."""
    with pytest.raises(ValueError, match="dilation_rate=3"):
        SeparableUnit(C, kernel_size=3, strides=2, dilation_rate=3)


def test_an_operation_that_computes_nothing_is_refused(images):
    with pytest.raises(NotImplementedError, match="Operation: expected a method `call` or `read`"):
        Operation(4).call(images(1, 8, 8, 4))
