"""A step of supernet training against a reference written out by hand, and what it must leave alone."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.stages.supernet_training import SupernetTraining
from hmnas_tf.stages.update_schedules import decisions


class ByHand:
    """One step after the other in NumPy, with gradients by TensorFlow: architecture first, then weights."""

    def __init__(self, supernet, *, clip=0.2, decay=0.05, architecture_decay=0.5):
        self.supernet = supernet
        self.clip, self.decay, self.architecture_decay = clip, decay, architecture_decay
        self.velocity = [np.zeros(v.shape, np.float32) for v in supernet.network_weights]
        self.first = [np.zeros(v.shape, np.float32) for v in supernet.architecture_parameters]
        self.second = [np.zeros(v.shape, np.float32) for v in supernet.architecture_parameters]
        self.adam_steps = 0
        self.clipped = []

    def gradients(self, batch, variables):
        images, labels = batch
        with tf.GradientTape() as tape:
            log_softmax = tf.nn.log_softmax(self.supernet(images, training=True))
            loss = -tf.reduce_mean(tf.gather(log_softmax, labels, batch_dims=1))
        return [g.numpy() for g in tape.gradient(loss, [v.value for v in variables])]

    def architecture_step(self, batch, rate=0.03, beta_1=0.5, beta_2=0.999):
        parameters = self.supernet.architecture_parameters
        self.adam_steps += 1
        for i, (p, g) in enumerate(zip(parameters, self.gradients(batch, parameters), strict=True)):
            g = g + self.architecture_decay * p.numpy()
            self.first[i] = beta_1 * self.first[i] + (1 - beta_1) * g
            self.second[i] = beta_2 * self.second[i] + (1 - beta_2) * g**2
            mean = self.first[i] / (1 - beta_1**self.adam_steps)
            spread = np.sqrt(self.second[i] / (1 - beta_2**self.adam_steps))
            p.assign(p.numpy() - rate * mean / (spread + 1e-7))

    def weight_step(self, batch, rate=0.05, momentum=0.9):
        weights = self.supernet.network_weights
        found = self.gradients(batch, weights)
        norm = np.sqrt(sum(np.sum(g.astype(np.float64) ** 2) for g in found))
        scale = min(1.0, self.clip / norm)
        self.clipped.append(scale < 1.0)
        for i, (w, g) in enumerate(zip(weights, found, strict=True)):
            self.velocity[i] = momentum * self.velocity[i] - rate * (g * scale + self.decay * w.numpy())
            w.assign(w.numpy() + self.velocity[i])


def assert_close(found, expected, absolute=1e-6):
    for a, b in zip(found, expected, strict=True):
        assert np.abs(a - b).max() <= max(absolute, 1e-4 * np.abs(b).max())


def test_steps_are_the_reference_written_by_hand(make_supernet, make_training, make_batch, values):
    supernet, reference = make_supernet(), make_supernet()
    stage = make_training(supernet, [True] * 3)
    by_hand = ByHand(reference)
    for step in range(3):
        training, validation = make_batch(2 * step), make_batch(2 * step + 1)
        stage.train_step((training, validation))
        by_hand.architecture_step(validation)
        by_hand.weight_step(training)
    assert all(by_hand.clipped), "the clip must bite to be tested"
    # Adam divides a gradient near 0 by its own size, so rounding is a small part of the rate 0.03.
    assert_close(values(supernet.architecture_parameters), values(reference.architecture_parameters), 6e-4)
    assert_close(values(supernet.network_weights), values(reference.network_weights))
    assert_close(values(supernet.batch_statistics), values(reference.batch_statistics))


def test_the_order_and_the_updated_architecture_are_visible_in_the_weights(make_supernet, make_batch, values):
    """Without this difference the reference above could not tell the two orders apart."""
    one, other = make_supernet(), make_supernet()
    first, second = ByHand(one), ByHand(other)
    for _ in range(3):
        first.architecture_step(make_batch(1), rate=0.3)
        first.weight_step(make_batch(0))
        second.weight_step(make_batch(0))
        second.architecture_step(make_batch(1), rate=0.3)
    with pytest.raises(AssertionError):
        assert_close(values(one.network_weights), values(other.network_weights))


def test_a_step_decided_against_leaves_the_architecture_and_its_optimizer_alone(
    make_supernet, make_training, make_batch, values, bitwise_equal
):
    supernet = make_supernet()
    stage = make_training(supernet, [True, False, True])
    batch = (make_batch(0), make_batch(1))
    architecture = [*supernet.architecture_parameters, *stage.architecture_optimizer.variables]
    masks, weights = values(supernet.real_masks), values(supernet.network_weights)
    moved = []
    for _ in range(3):
        before = values(architecture)
        stage.train_step(batch)
        moved.append(not bitwise_equal(values(architecture), before))
    assert moved == [True, False, True]
    assert bitwise_equal(values(supernet.real_masks), masks)
    assert not any((a == b).all() for a, b in zip(values(supernet.network_weights), weights, strict=True))
    assert int(stage.optimizer.iterations) == 3
    assert int(stage.architecture_optimizer.iterations) == 2
    assert float(stage.architecture_steps.result()) == 2.0


def test_the_graph_decides_like_the_table_and_the_warmup_has_no_step(
    make_supernet, make_training, make_batch, values, bitwise_equal
):
    supernet = make_supernet()
    table = decisions("linear", final=0.0, steps=8, warmup_steps=3, seed=1)
    assert 0 < table.sum() < 5
    stage = make_training(supernet, table)
    seen = [values(supernet.architecture_parameters)]
    masks = values(supernet.real_masks)
    observe = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(values(supernet.architecture_parameters))
    )
    batches = tf.data.Dataset.from_tensors((make_batch(0), make_batch(1))).repeat(8)
    history = stage.fit(batches, verbose=0, shuffle=False, callbacks=[observe]).history
    moved = [not bitwise_equal(before, after) for before, after in itertools.pairwise(seen)]
    assert moved == table.tolist()
    assert history["architecture_steps"] == [table.sum()]
    assert history["architecture_loss"][0] > 0.1
    assert bitwise_equal(values(supernet.real_masks), masks)


def test_training_learns(make_supernet, make_training, make_batch):
    supernet = make_supernet()
    stage = make_training(
        supernet, [True] * 12, weight_decay=3e-4, architecture_decay=1e-3, gradient_clip=5.0
    )
    batch = (make_batch(0, size=16), make_batch(1, size=16))
    losses = []
    for _ in range(12):
        stage.reset_metrics()
        losses.append(float(stage.train_step(batch)["loss"]))
    assert np.mean(losses[-3:]) < 0.9 * losses[0]


def test_an_unknown_hypergradient_is_an_error(make_supernet, make_training):
    with pytest.raises(KeyError):
        make_training(make_supernet(), architecture_gradient="third_order")


def test_both_optimizers_are_ready_for_a_checkpoint(make_supernet, make_training):
    stage = make_training(make_supernet())
    assert isinstance(stage, SupernetTraining)
    assert [len(optimizer.variables) > 2 for optimizer in stage.optimizers] == [True, True]
    assert [metric.name for metric in stage.metrics] == [
        "loss",
        "error",
        "architecture_loss",
        "architecture_steps",
    ]
