"""The loss of distillation against Keras' divergence; a teacher is never trained."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.settings.paper import DISTILLATION_SHARE, DISTILLATION_TEMPERATURE
from hmnas_tf.stages.distillation import Teacher, softened_divergence
from hmnas_tf.stages.fine_tuning import FineTuning

RANDOM = np.random.default_rng(0)
LOGITS = [RANDOM.normal(scale=3.0, size=(6, 4)).astype(np.float32) for _ in range(2)]


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_divergence_is_that_of_keras_times_the_square_of_the_temperature(temperature):
    teacher, student = (keras.ops.softmax(logits / temperature) for logits in LOGITS)
    expected = temperature**2 * np.asarray(keras.losses.kl_divergence(teacher, student))
    found = softened_divergence(*map(tf.constant, LOGITS), temperature)
    assert np.asarray(found) == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_logits_and_logarithms_of_probabilities_teach_the_same():
    teacher, student = map(tf.constant, LOGITS)
    found = [softened_divergence(each, student) for each in (teacher, tf.nn.log_softmax(teacher))]
    assert np.asarray(found[0]) == pytest.approx(np.asarray(found[1]), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(
    "weights", [None, np.array([2.0, 0.5, 1.0, 0.25], np.float32)], ids=["alike", "weighted"]
)
def test_a_step_learns_labels_and_teacher_and_leaves_the_teacher_alone(
    weights, make_stock_network, make_batch, values, bitwise_equal
):
    student, teacher = make_stock_network(0), make_stock_network(1)
    teacher.trainable = False
    before = values(teacher.variables)
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
    settings = dict(optimizer=optimizer, weight_decay=0.0, gradient_clip=0.0)
    stage = FineTuning(student, teacher=Teacher(teacher), **settings)
    stage.class_weights = weights
    images, labels = make_batch(0)
    loss, logits = stage.loss_and_logits(images, labels)
    factors = 1.0 if weights is None else weights[labels]
    plain = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    divergence = softened_divergence(teacher(images, training=False), logits, DISTILLATION_TEMPERATURE)
    parts = (1 - DISTILLATION_SHARE) * factors * plain + DISTILLATION_SHARE * factors * divergence
    assert float(loss) == pytest.approx(float(tf.reduce_mean(parts)), rel=1e-5)
    stage.train_step((images, labels))
    assert bitwise_equal(values(teacher.variables), before)
    assert {id(v) for v in stage.trainable_variables} == {id(v) for v in student.trainable_variables}
    assert not {id(v) for v in teacher.variables} & {id(v) for v in stage.variables}
