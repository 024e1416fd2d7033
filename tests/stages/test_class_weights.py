"""Weights of classes are scikit-learn's, and the weighted loss is Keras' with one weight an image."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.utils.class_weight import compute_class_weight

from hmnas_tf.stages.class_weights import CLASS_WEIGHTS, balanced
from hmnas_tf.stages.stage import cross_entropy


def test_balanced_weights_are_those_of_scikit_learn_with_mean_1_by_image():
    labels = np.repeat([0, 1, 3], [200, 40, 10])
    weights = balanced(np.bincount(labels, minlength=5))
    assert weights.dtype == np.float32
    expected = compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=labels)
    assert weights[[0, 1, 3]] == pytest.approx(expected, rel=1e-6)
    assert weights[[2, 4]].tolist() == [0.0, 0.0]
    assert weights[labels].mean() == pytest.approx(1.0, rel=1e-6)


def test_classes_of_one_size_weigh_1_and_none_weighs_nothing():
    assert balanced(np.array([7, 7, 7])).tolist() == [1.0, 1.0, 1.0]
    assert CLASS_WEIGHTS["none"](np.array([1, 2])) is None


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_weighted_loss_is_that_of_keras(smoothing):
    random = np.random.default_rng(1)
    logits, labels = random.standard_normal((6, 4), np.float32), np.array([0, 1, 3, 3, 2, 0])
    weights = np.array([0.5, 2.0, 4.0, 0.25], np.float32)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    expected = loss(keras.ops.one_hot(labels, 4), logits, sample_weight=weights[labels])
    assert float(cross_entropy(labels, logits, smoothing, weights)) == pytest.approx(
        float(expected), rel=1e-5
    )


def test_the_gradient_of_a_step_is_weighted_and_the_measured_loss_is_not(
    make_supernet, make_training, make_batch
):
    """Weight step, architecture step and the unrolled step all go through the loss of the stage."""
    batch, weights = make_batch(0), np.array([3.0, 0.0, 0.5, 1.0], np.float32)
    images, labels = batch
    for gradient in ("first_order", "second_order"):
        supernet = make_supernet()
        stage = make_training(supernet, architecture_gradient=gradient)
        plain = stage.hypergradient(stage, batch, batch)
        stage.class_weights = weights
        weighted = stage.hypergradient(stage, batch, batch)
        logits = supernet(images, training=True)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        if gradient == "first_order":
            assert float(weighted[0]) == pytest.approx(
                float(tf.reduce_mean(weights[labels] * losses)), rel=1e-5
            )
        assert float(weighted[0]) != pytest.approx(float(plain[0]), rel=1e-3)
        assert not np.allclose(weighted[1][0], plain[1][0], rtol=1e-3)
        sure = (images, tf.one_hot(labels, 4))  # mixed labels that are not mixed
        for one, two in zip(weighted[1], stage.hypergradient(stage, sure, batch)[1], strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-5)
    logs = stage.test_step((images, labels, tf.ones(len(labels))))
    measured = supernet(images, training=False)
    expected = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=measured))
    assert float(logs["loss"]) == pytest.approx(float(expected), rel=1e-5)
