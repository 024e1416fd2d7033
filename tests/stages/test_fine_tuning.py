"""Fine-tuning moves what survived and never what was masked."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.derivation.derive import derive
from hmnas_tf.derivation.rules import genotype_of
from hmnas_tf.stages.fine_tuning import FineTuning


def make_fine_tuning(network, **changes) -> FineTuning:
    settings = dict(weight_decay=0.05, gradient_clip=0.5) | changes
    return FineTuning(network, optimizer=keras.optimizers.SGD(0.05, momentum=0.9), **settings)


@pytest.fixture(scope="module")
def masked_supernet(make_supernet):
    supernet = make_supernet()
    random = np.random.default_rng(0)
    for mask in supernet.weight_masks:
        mask.assign(np.where(random.random(mask.shape) < 0.6, 1e-2, 0.0))
    encoding = supernet.encodings[0]
    operations = np.full(encoding.operation_mask.shape, 1e-2, np.float32)
    operations[0, 0] = operations[2, 1] = operations[4, 0] = 0.0
    encoding.operation_mask.assign(operations)
    return supernet


def test_masked_weights_of_a_derived_network_stay_0_and_the_others_move(masked_supernet, make_batch):
    network = derive(masked_supernet, genotype_of(masked_supernet, "masks"), (8, 8, 1))
    kernels = {layer.name: layer.kernel for layer in network.layers if hasattr(layer, "kernel")}
    kinds = {type(layer).__name__ for layer in network.layers if hasattr(layer, "kernel")}
    assert {"Conv2D", "DepthwiseConv2D", "Dense"} <= kinds
    before = {name: kernel.numpy() for name, kernel in kernels.items()}
    assert sum(int((value == 0).sum()) for value in before.values()) > 200
    scales = {layer.name: layer.scale for layer in network.layers if hasattr(layer, "scale")}
    scales = {name: scale for name, scale in scales.items() if isinstance(scale, float)}
    assert len(scales) >= 10
    stage = make_fine_tuning(network)
    for seed in range(4):
        stage.train_step(make_batch(seed))
    for name, kernel in kernels.items():
        assert (kernel.numpy()[before[name] == 0] == 0).all(), name
        assert (kernel.numpy()[before[name] != 0] != before[name][before[name] != 0]).mean() > 0.99, name
    assert {name: network.get_layer(name).scale for name in scales} == scales


def test_steps_are_momentum_sgd_with_clip_then_decay_on_what_is_kept(make_stock_network, make_batch, values):
    network, reference = make_stock_network(), make_stock_network()
    stage = make_fine_tuning(network)
    kept = [
        value != 0 if value.ndim == 4 else np.ones(value.shape, bool)
        for value in values(reference.trainable_variables)
    ]
    velocity = [np.zeros(v.shape, np.float32) for v in reference.trainable_variables]
    for seed in range(3):
        batch = make_batch(seed)
        stage.train_step(batch)
        found = gradients_of(reference, batch)
        found = [g * k for g, k in zip(found, kept, strict=True)]
        norm = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in found))
        for i, variable in enumerate(reference.trainable_variables):
            decayed = found[i] * min(1.0, 0.5 / norm) + 0.05 * variable.numpy()
            velocity[i] = 0.9 * velocity[i] - 0.05 * decayed
            variable.assign(variable.numpy() + velocity[i])
    for a, b in zip(values(network.variables), values(reference.variables), strict=True):
        assert a == pytest.approx(b, rel=1e-4, abs=1e-5)


def gradients_of(network, batch) -> list[np.ndarray]:
    with tf.GradientTape() as tape:
        logits = network(batch[0], training=True)
        loss = tf.reduce_mean(
            keras.losses.sparse_categorical_crossentropy(batch[1], logits, from_logits=True)
        )
    return [g.numpy() for g in tape.gradient(loss, [v.value for v in network.trainable_variables])]


def test_what_is_masked_is_known_when_the_stage_is_made(make_stock_network, make_batch):
    network = make_stock_network()
    stage = make_fine_tuning(network)
    kernel = network.get_layer("convolution").kernel
    value = kernel.numpy()
    masked, learned = value == 0, np.argwhere(value != 0)[0]
    value[tuple(learned)] = 0.0  # as a checkpoint could hold it, though a learned weight is never exactly 0
    kernel.assign(value)
    stage.train_step(make_batch(0))
    assert (kernel.numpy()[masked] == 0).all()
    assert kernel.numpy()[tuple(learned)] != 0


def test_biases_and_offsets_that_start_at_0_are_not_masked(make_stock_network, make_batch):
    network = make_stock_network()
    zeros = [v for v in network.trainable_variables if not v.numpy().any()]
    assert len(zeros) == 2
    make_fine_tuning(network).train_step(make_batch(0))
    assert all(v.numpy().all() for v in zeros)


def test_fine_tuning_learns(make_stock_network, make_batch):
    stage = make_fine_tuning(make_stock_network(), weight_decay=0.0, gradient_clip=5.0)
    losses = []
    for _ in range(30):
        stage.reset_metrics()
        losses.append(float(stage.train_step(make_batch(0, size=32))["loss"]))
    assert losses[-1] < 0.95 * losses[0]
