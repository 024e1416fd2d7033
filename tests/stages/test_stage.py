"""What all training steps share, against NumPy."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.stages.stage import Stage, add_decay, apply, clip, cross_entropy, differentiate, gradients


def arrays(tensors) -> list[np.ndarray]:
    return [np.asarray(tensor) for tensor in tensors]


def test_cross_entropy_is_the_mean_of_minus_log_softmax():
    logits = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32) * 4
    labels = np.array([0, 2, 1, 1, 0])
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = -np.log(softmax[np.arange(5), labels]).mean()
    assert float(cross_entropy(labels, logits)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_smoothed_labels_are_those_of_keras(smoothing):
    random = np.random.default_rng(1)
    logits, labels = random.standard_normal((5, 4), np.float32), np.array([0, 1, 3, 3, 2])
    one_hot = keras.ops.one_hot(labels, 4)
    expected = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)(
        one_hot, logits
    )
    assert float(cross_entropy(labels, logits, smoothing)) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, np.array([0.5, 2.0, 1.0, 0.25], np.float32)])
def test_the_loss_of_mixed_labels_is_the_mixture_of_the_losses(smoothing, weights):
    random = np.random.default_rng(1)
    logits, shares = random.standard_normal((5, 4), np.float32), random.dirichlet(np.ones(4), 5)
    of_classes = [
        [float(cross_entropy(np.array([c]), row[None], smoothing, weights)) for c in range(4)]
        for row in logits
    ]
    loss = cross_entropy(tf.constant(shares, tf.float32), logits, smoothing, weights)
    assert float(loss) == pytest.approx((shares * of_classes).sum(axis=1).mean(), rel=1e-5)
    sure, labels = tf.one_hot([0, 1, 3, 3, 2], 4), np.array([0, 1, 3, 3, 2])
    with tf.GradientTape(persistent=True) as tape:
        given = tf.constant(logits)
        tape.watch(given)
        both = [cross_entropy(own, given, smoothing, weights) for own in (sure, labels)]
    assert float(both[0]) == pytest.approx(float(both[1]), rel=1e-5)
    np.testing.assert_allclose(*(tape.gradient(own, given) for own in both), rtol=1e-4, atol=1e-6)


def test_clip_scales_all_gradients_by_their_common_norm():
    found = [tf.constant([3.0, 0.0]), tf.constant([[4.0]])]
    assert arrays(clip(found, 1.0))[0] == pytest.approx([0.6, 0.0])
    assert arrays(clip(found, 1.0))[1] == pytest.approx(np.array([[0.8]]))
    assert arrays(clip(found, 5.5))[0] == pytest.approx([3.0, 0.0])
    assert arrays(clip(found, 0.0))[1] == pytest.approx(np.array([[4.0]]))


def test_decay_is_a_term_of_the_gradient():
    variables = [keras.Variable([1.0, -2.0]), keras.Variable([[4.0]])]
    found = [tf.constant([0.5, 0.5]), tf.constant([[1.0]])]
    decayed = arrays(add_decay(found, variables, 0.1))
    assert decayed[0] == pytest.approx([0.6, 0.3])
    assert decayed[1] == pytest.approx(np.array([[1.4]]))
    assert arrays(add_decay(found, variables, 0.0))[0] == pytest.approx([0.5, 0.5])


def test_gradients_are_those_of_the_variables_asked_for_and_of_no_others():
    asked, other, unused = keras.Variable(3.0), keras.Variable(5.0), keras.Variable([1.0, 1.0])
    watched = []

    def loss():
        product = asked.value * asked.value * other.value
        watched.append(product)
        return product, "rest"

    value, found, rest = gradients(loss, [asked, unused])
    assert float(value) == 45.0
    assert float(found[0]) == 30.0
    assert arrays(found)[1].tolist() == [0.0, 0.0]
    assert rest == "rest"
    assert len(found) == 2
    assert len(watched) == 1


def test_differentiate_takes_tensors_and_variables():
    tensor, variable = tf.constant(2.0), keras.Variable(7.0)
    value, found = differentiate(lambda: tensor * variable.value, [tensor, variable.value])
    assert float(value) == 14.0
    assert [float(gradient) for gradient in found] == [7.0, 2.0]


def test_apply_gives_an_optimizer_the_gradients_as_they_are():
    variable = keras.Variable([1.0, 2.0])
    optimizer = keras.optimizers.SGD(0.5)
    optimizer.build([variable])
    apply(optimizer, [tf.constant([1.0, -1.0])], [variable])
    assert variable.numpy() == pytest.approx([0.5, 2.5])
    assert int(optimizer.iterations) == 1


def test_a_stage_counts_loss_and_error_in_percent(make_stock_network, make_batch):
    stage = Stage(make_stock_network())
    logits = tf.constant([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0], [0.0, 2.0]])
    counted = stage.count(tf.constant(1.0), tf.constant([0, 1, 1, 1]), logits)
    counted = stage.count(tf.constant(3.0), tf.constant([0, 0, 1, 1]), logits)
    assert sorted(counted) == ["error", "loss"]
    assert float(counted["loss"]) == 2.0
    assert float(counted["error"]) == 12.5


def test_of_mixed_labels_the_largest_share_is_the_right_class(make_stock_network):
    stage = Stage(make_stock_network())
    shares = tf.constant([[0.6, 0.4], [0.4, 0.6], [0.0, 1.0], [0.9, 0.1]])
    logits = tf.constant([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0], [0.0, 2.0]])
    assert float(stage.count(tf.constant(1.0), shares, logits)["error"]) == 50.0


def test_a_stage_has_no_variables_but_its_networks(make_stock_network):
    network = make_stock_network()
    stage = Stage(network)
    assert {id(v) for v in stage.trainable_variables} == {id(v) for v in network.trainable_variables}
    assert {id(v) for v in network.variables} <= {id(v) for v in stage.variables}
