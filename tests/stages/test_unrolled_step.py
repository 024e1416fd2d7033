"""The second-order gradient against exact second derivatives: by nested tapes, and by hand on a quadratic."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import keras
import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.stages import hypergradients
from hmnas_tf.stages.hypergradients import first_order, second_order
from hmnas_tf.stages.stage import Stage, cross_entropy

RATE, MOMENTUM, DECAY = 0.4, 0.9, 0.05


class FunctionNetwork(keras.Model):
    """A network written as logits(images, weights, architecture)."""

    def __init__(self, logits: Callable, weights: Sequence[np.ndarray], architecture: np.ndarray):
        super().__init__()
        self.logits = logits
        self.network_weights = [self._add(value) for value in weights]
        self.architecture_parameters = [self._add(architecture)]
        self.built = True

    def _add(self, value: np.ndarray) -> keras.Variable:
        return self.add_weight(shape=value.shape, initializer=lambda *_, **__: np.float32(value))

    def call(self, images, training=None):
        values = [tf.convert_to_tensor(v) for v in (*self.network_weights, *self.architecture_parameters)]
        return self.logits(images, values[:-1], values[-1])


def make_stage(network, buffers, rate=RATE, momentum=MOMENTUM, decay=DECAY) -> Stage:
    """Returns a stage whose optimizer has these momentum buffers, in the scale of gradients."""
    stage = Stage(network)
    stage.weight_decay = decay
    stage.compile(optimizer=keras.optimizers.SGD(rate, momentum=momentum), jit_compile=False)
    stage.optimizer.build(network.network_weights)
    if momentum:  # Keras has no velocities without it
        for velocity, buffer in zip(stage.optimizer.momentums, buffers, strict=True):
            velocity.assign(-rate * buffer)
    return stage


def norm_of_difference(found, expected) -> float:
    return float(np.linalg.norm(np.asarray(found, np.float64) - np.asarray(expected, np.float64)))


# A smooth network: nested tapes give the exact answer, which the finite difference comes close to.


def smooth_logits(images, weights, importance):
    return tf.matmul(tf.tanh(tf.matmul(images, weights[0])) * tf.nn.softmax(importance) * 5.0, weights[1])


@functools.cache
def smooth_problem() -> tuple[list[np.ndarray], np.ndarray, list[np.ndarray], tuple, tuple]:
    """Returns weights, importances of the inner units, momentum buffers, and two batches."""
    random = np.random.default_rng(3)
    weights = [0.5 * random.standard_normal(shape) for shape in ((6, 5), (5, 3))]
    importance, buffers = random.standard_normal(5), [0.1 * random.standard_normal(w.shape) for w in weights]
    batches = [(random.standard_normal((16, 6)), random.integers(0, 3, 16)) for _ in range(2)]
    return weights, importance, buffers, *batches


@functools.cache
def exact_terms() -> tuple[np.ndarray, np.ndarray]:
    """Returns both terms of the gradient in float64: the direct one, and the one through the unrolled step.

    The latter is -eta times the Hessian-vector product d/da <grad_w L_train(w, a), v>.
    """
    weights, importance, buffers, training, validation = smooth_problem()
    weights, importance = [tf.constant(w) for w in weights], tf.constant(importance)

    def loss(batch, at):
        return cross_entropy(batch[1], smooth_logits(batch[0], at, importance))

    with tf.GradientTape(persistent=True) as outer:
        outer.watch(importance)
        with tf.GradientTape() as inner:
            inner.watch(weights)
            value = loss(training, weights)
        slope = inner.gradient(value, weights)
        unrolled = [
            w - RATE * (MOMENTUM * buffer + g + DECAY * w)
            for w, buffer, g in zip(weights, buffers, slope, strict=True)
        ]
        fixed = [tf.stop_gradient(w) for w in unrolled]
        outer.watch(fixed)
        at_fixed, at_unrolled = loss(validation, fixed), loss(validation, unrolled)
    direct, *towards = outer.gradient(at_fixed, [importance, *fixed])
    product = outer.gradient(slope, importance, output_gradients=towards)
    through_the_step = -RATE * product
    total = outer.gradient(at_unrolled, importance)
    np.testing.assert_allclose(direct + through_the_step, total, rtol=1e-12)  # the chain rule
    return direct.numpy(), through_the_step.numpy()


def error_at(perturbation: float, monkeypatch) -> float:
    """Returns the error of the finite difference, relative to the exact term."""
    monkeypatch.setattr(hypergradients, "PERTURBATION", perturbation)
    weights, importance, buffers, *batches = smooth_problem()
    stage = make_stage(FunctionNetwork(smooth_logits, weights, importance), buffers)
    _, (found,) = second_order(stage, *((np.float32(images), labels) for images, labels in batches))
    direct, through_the_step = exact_terms()
    assert np.linalg.norm(through_the_step) > 0.2 * np.linalg.norm(direct)
    return norm_of_difference(found, direct + through_the_step) / np.linalg.norm(through_the_step)


def test_the_finite_difference_is_the_exact_hessian_vector_product(monkeypatch):
    assert error_at(hypergradients.PERTURBATION, monkeypatch) < 1e-3
    assert error_at(3e-3, monkeypatch) < 1e-4


def test_its_error_shrinks_with_the_square_of_the_perturbation(monkeypatch):
    """A central difference; a one-sided one would only shrink tenfold."""
    far, near, nearer = (error_at(perturbation, monkeypatch) for perturbation in (0.3, 0.03, 0.01))
    assert 50 < far / near < 200
    assert 7 < near / nearer < 12


def test_its_error_grows_again_where_rounding_prevails(monkeypatch):
    assert error_at(1e-5, monkeypatch) > 10 * error_at(1e-3, monkeypatch)


# A quadratic: L = |X w + Z a - y|^2 / 2n, whose finite difference is exact for any perturbation.


def linear_logits(images, weights, architecture):
    return tf.linalg.matvec(images, tf.concat([weights[0], architecture], 0))  # X and Z side by side


def squared_error(labels, logits, smoothing=0.0, class_weights=None):
    return tf.reduce_mean((logits - labels) ** 2) / 2.0


@pytest.fixture
def quadratic(monkeypatch) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], tuple, tuple]:
    """Makes the loss a squared error; returns (weights, architecture, momentum buffer) and two batches."""
    monkeypatch.setattr("hmnas_tf.stages.stage.cross_entropy", squared_error)
    random = np.random.default_rng(5)
    values = tuple(random.standard_normal(size).astype(np.float32) for size in (6, 4, 6))
    batches = [
        (random.standard_normal((12, 10), np.float32), random.standard_normal(12, np.float32))
        for _ in range(2)
    ]
    return values, *batches


def by_hand(values, training, validation, *, rate, momentum, decay, slope_sign=1.0, product_sign=1.0):
    """DARTS, Eqs. 7 and 8. Returns the loss at the unrolled weights, the gradient, and these weights."""
    w, a, buffer = (value.astype(np.float64) for value in values)
    (x, z), y = np.split(training[0], [6], axis=1), training[1]
    (x_val, z_val), y_val = np.split(validation[0], [6], axis=1), validation[1]
    slope = x.T @ (x @ w + z @ a - y) / len(y)
    unrolled = w - rate * (momentum * buffer + slope_sign * slope + decay * w)
    residual = (x_val @ unrolled + z_val @ a - y_val) / len(y_val)
    product = z.T @ (x @ (x_val.T @ residual)) / len(y)
    gradient = z_val.T @ residual - product_sign * rate * product
    return len(y_val) * residual @ residual / 2, gradient, unrolled


def found_on(quadratic, order=second_order, **settings) -> tuple[float, np.ndarray]:
    (w, a, buffer), *batches = quadratic
    loss, (gradient,) = order(
        make_stage(FunctionNetwork(linear_logits, [w], a), [buffer], **settings), *batches
    )
    return float(loss), gradient.numpy()


@pytest.mark.parametrize("rate", [0.5, 0.05])
@pytest.mark.parametrize(
    "momentum",
    [
        0.9,
        0.0,
    ],
)
@pytest.mark.parametrize("decay", [0.0, 0.2])
def test_second_order_on_a_quadratic_is_what_numpy_says(quadratic, rate, momentum, decay):
    settings = dict(rate=rate, momentum=momentum, decay=decay)
    expected_loss, expected, _ = by_hand(*quadratic, **settings)
    loss, found = found_on(quadratic, **settings)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert norm_of_difference(found, expected) < 1e-4 * np.linalg.norm(expected)


@pytest.mark.parametrize(
    "wrong",
    [
        dict(momentum=-MOMENTUM),
        dict(decay=-DECAY),
        dict(slope_sign=-1.0),
        dict(product_sign=-1.0),
        dict(product_sign=0.0),
        dict(momentum=MOMENTUM * RATE),
        dict(momentum=MOMENTUM / RATE),
    ],
    ids=str,
)
def test_control_every_term_counts_with_its_sign_and_scale(quadratic, wrong):
    settings = dict(rate=RATE, momentum=MOMENTUM, decay=DECAY)
    _, spoilt, _ = by_hand(*quadratic, **settings | wrong)
    _, found = found_on(quadratic, **settings)
    assert norm_of_difference(found, spoilt) > 1e-2 * np.linalg.norm(found)


def test_the_perturbation_does_not_matter_on_a_quadratic(quadratic, monkeypatch):
    _, expected, _ = by_hand(*quadratic, rate=RATE, momentum=MOMENTUM, decay=DECAY)
    for perturbation in (1.0, 100.0):
        monkeypatch.setattr(hypergradients, "PERTURBATION", perturbation)
        _, found = found_on(quadratic)
        assert norm_of_difference(found, expected) < 1e-5 * np.linalg.norm(expected)


def test_the_rate_is_the_current_one_and_the_step_the_optimizers_next(quadratic):
    """Also after the rate has changed: Keras' velocity keeps the rates it was gathered at."""
    (w, a, buffer), training, validation = quadratic
    schedule = keras.optimizers.schedules.CosineDecay(RATE, 10)
    stage = make_stage(FunctionNetwork(linear_logits, [w], a), [buffer])  # gathered at RATE
    velocities = [velocity.numpy() for velocity in stage.optimizer.momentums]
    stage.compile(optimizer=keras.optimizers.SGD(schedule, momentum=MOMENTUM), jit_compile=False)
    stage.optimizer.build(stage.network.network_weights)
    stage.optimizer.iterations.assign(6)
    for velocity, value in zip(stage.optimizer.momentums, velocities, strict=True):
        velocity.assign(value)
    rate = float(schedule(6))
    assert rate < 0.4 * RATE
    loss, (found,) = second_order(stage, training, validation)
    expected_loss, expected, unrolled = by_hand(
        (w, a, buffer * RATE / rate), training, validation, rate=rate, momentum=MOMENTUM, decay=DECAY
    )
    assert float(loss) == pytest.approx(expected_loss, rel=1e-5)
    assert norm_of_difference(found, expected) < 1e-4 * np.linalg.norm(expected)
    (weight,) = stage.network.network_weights
    with tf.GradientTape() as tape:
        value = squared_error(training[1], stage.network(training[0])) + DECAY / 2 * tf.reduce_sum(weight**2)
    stage.optimizer.apply([tape.gradient(value, weight.value)], [weight])
    np.testing.assert_allclose(weight.numpy(), unrolled, rtol=1e-5, atol=1e-6)


def test_orders_agree_at_rate_zero(quadratic):
    """Nothing moves then, if nothing has moved before."""
    first_loss, first = found_on(quadratic, first_order, rate=0.0)
    second_loss, second = found_on(quadratic, second_order, rate=0.0)
    assert second_loss == pytest.approx(first_loss, rel=1e-6)
    assert norm_of_difference(second, first) < 1e-6 * np.linalg.norm(first)


def test_orders_differ_by_the_way_of_the_weights_and_the_product(quadratic):
    """Z_val^T X_val (w' - w) / n - eta * d/da <grad_w L_train, v>, both of which count."""
    settings = dict(rate=RATE, momentum=MOMENTUM, decay=DECAY)
    (w, _, _), _, validation = quadratic
    _, gradient, unrolled = by_hand(*quadratic, **settings)
    _, without_product, _ = by_hand(*quadratic, **settings, product_sign=0.0)
    x_val, z_val = np.split(validation[0].astype(np.float64), [6], axis=1)
    way = z_val.T @ (x_val @ (unrolled - w)) / len(x_val)
    product = gradient - without_product
    _, first = found_on(quadratic, first_order, **settings)
    _, second = found_on(quadratic, second_order, **settings)
    assert min(np.linalg.norm(part) for part in (way, product)) > 0.1 * np.linalg.norm(first)
    assert norm_of_difference(second - first, way + product) < 1e-4 * np.linalg.norm(way + product)


# A supernet, in a graph: batch normalization has averages that must stay as they are.


def test_no_order_changes_anything_in_a_graph(
    make_supernet, make_training, make_batch, values, bitwise_equal
):
    stage = make_training(make_supernet(operations=("max_pool_3x3", "identity")), [False])
    training, validation = make_batch(0), make_batch(1)
    stage.train_step((training, validation))  # so that there is momentum
    variables = [
        *stage.network.variables,
        *(v for optimizer in stage.optimizers for v in optimizer.variables),
    ]
    statistics = values(stage.network.batch_statistics)
    before = values(variables)
    tf.function(lambda: second_order(stage, training, validation)[1])()
    assert bitwise_equal(values(variables), before)
    tf.function(lambda: first_order(stage, training, validation)[1])()
    others = [v for v in variables if "moving" not in v.name]
    kept = [value for v, value in zip(variables, before, strict=True) if "moving" not in v.name]
    assert bitwise_equal(values(others), kept)
    assert not bitwise_equal(values(stage.network.batch_statistics), statistics)  # the check can fail
