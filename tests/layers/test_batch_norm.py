"""Batch normalization of parallel edges against NumPy, on one replica and on two."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import hmnas_tf
from hmnas_tf.layers.batch_norm import BatchNorm

SHAPE = (4, 5, 6, 3)
FACTORS = np.array([0.5, 2.0], np.float32)


def made(randomise, affine: bool = False, inputs: int | None = None) -> BatchNorm:
    layer = BatchNorm(affine=affine, edges=2)
    layer.build((None, *SHAPE[1:]), inputs=inputs)
    return randomise(layer)


def inputs_of(images, count: int) -> list[np.ndarray]:
    return [3.0 * images(*SHAPE, seed=e) + e + 1 for e in range(count)]


def scales(layer) -> tuple[np.ndarray, np.ndarray]:
    if not layer.affine:
        return np.ones((2, 3)), np.zeros((2, 3))
    return layer.gamma.numpy(), layer.beta.numpy()


@pytest.mark.parametrize("factors", [None, FACTORS])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("affine", [False, True])
def test_training_uses_and_moves_by_the_statistics_of_the_batch(
    affine, count, factors, images, randomise, batch_norm
):
    layer, x = made(randomise, affine, inputs=count), inputs_of(images, count)
    gamma, beta = scales(layer)
    before = [variable.numpy() for variable in (layer.moving_mean, layer.moving_variance)]
    means, variances = (np.stack([f(image, axis=(0, 1, 2)) for image in x]) for f in (np.mean, np.var))
    results = layer(x, factors, training=True)
    assert len(results) == 2
    for e, result in enumerate(results):
        own = e if count == 2 else 0
        expected = batch_norm(x[own], means[own], variances[own], gamma[e], beta[e])
        np.testing.assert_allclose(
            result, expected * (1 if factors is None else factors[e]), rtol=1e-4, atol=1e-5
        )
    np.testing.assert_allclose(layer.moving_mean.numpy(), 0.9 * before[0] + 0.1 * means, rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance.numpy(), 0.9 * before[1] + 0.1 * variances, rtol=1e-5)


@pytest.mark.parametrize("factors", [None, FACTORS])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("training", [False, None])
def test_inference_uses_the_moving_averages_and_leaves_them(
    training, affine, count, factors, images, randomise, batch_norm
):
    layer, x = made(randomise, affine, inputs=count), inputs_of(images, count)
    gamma, beta = scales(layer)
    before = layer.get_weights()
    for e, result in enumerate(layer(x, factors, training=training)):
        own = e if count == 2 else 0
        mean, variance = layer.moving_mean.numpy()[own], layer.moving_variance.numpy()[own]
        expected = batch_norm(x[own], mean, variance, gamma[e], beta[e])
        np.testing.assert_allclose(
            result, expected * (1 if factors is None else factors[e]), rtol=1e-4, atol=1e-5
        )
    for old, new in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_agrees_with_keras_over_several_steps(images):
    own, stock = BatchNorm(affine=True), keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)
    own.build((None, *SHAPE[1:]))
    for step in range(3):
        x = images(*SHAPE, seed=step) * (step + 1) - step
        np.testing.assert_allclose(own([x], training=True)[0], stock(x, training=True), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(own([x], training=False)[0], stock(x, training=False), rtol=1e-4, atol=1e-5)


def test_gradient_passes_through_the_statistics_of_the_batch(images):
    """The sum of a normalised batch is constant, so its gradient is 0; with fixed statistics it is not."""
    import tensorflow as tf

    layer, x = BatchNorm(), tf.constant(images(*SHAPE))
    layer.build((None, *SHAPE[1:]))
    for training, least, most in ((True, 0.0, 1e-5), (False, 0.9, 1.1)):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer([x], training=training)[0])
        assert least <= np.abs(tape.gradient(loss, x)).max() <= most


TWO_REPLICAS = """
import sys
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from hmnas_tf.layers.batch_norm import BatchNorm

random = np.random.default_rng(0)
x = [(3 * random.standard_normal((4, 5, 6, 3)) + e + 1).astype("float32") for e in range(2)]
outer = random.standard_normal((2, 4, 5, 6, 3)).astype("float32")
factors = np.array([0.5, 2.0], np.float32)


def step(layer, x, outer):
    x = [tf.convert_to_tensor(image) for image in x]
    with tf.GradientTape() as tape:
        tape.watch(x)
        results = layer(x, factors, training=True)
        loss = tf.add_n([tf.reduce_sum(y * o) for y, o in zip(results, outer)])
    return results, tape.gradient(loss, [*x, layer.gamma.value, layer.beta.value])


def run(strategy):
    with strategy.scope():
        layer = BatchNorm(affine=True, edges=2)
        layer.build((None, 5, 6, 3))
        layer.gamma.assign([[1.0, 2.0, 0.5], [0.7, 0.3, 1.5]])
    count = strategy.num_replicas_in_sync
    size = 4 // count
    part = lambda values, i: [value[i * size : (i + 1) * size] for value in values]
    values = lambda list_of: strategy.experimental_distribute_values_from_function(
        lambda context: part(list_of, context.replica_id_in_sync_group))
    call = tf.function(lambda x, o: step(layer, x, o))
    results, gradients = strategy.run(call, (values(x), values(list(outer))))
    local = strategy.experimental_local_results
    joined = [np.concatenate(local(y)) for y in (*results, *gradients[:2])]
    summed = [np.sum([np.asarray(g) for g in local(y)], axis=0) for y in gradients[2:]]
    return joined + summed + [np.asarray(v) for v in (layer.moving_mean, layer.moving_variance)]


one, two = run(tf.distribute.get_strategy()), run(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
names = ["y0", "y1", "dx0", "dx1", "dgamma", "dbeta", "moving_mean", "moving_variance"]
for name, a, b in zip(names, one, two, strict=True):
    print(name, np.abs(a - b).max() / np.abs(a).max())
"""


def test_two_replicas_normalise_by_the_whole_batch():
    """Results, gradients and moving averages of two halves equal those of the batch in one piece."""
    root = Path(hmnas_tf.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", TWO_REPLICAS], cwd=root, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    differences = {name: float(value) for name, value in map(str.split, done.stdout.splitlines())}
    assert len(differences) == 8
    assert {name: value for name, value in differences.items() if not value < 1e-5} == {}
