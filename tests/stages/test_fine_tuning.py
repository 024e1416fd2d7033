"""Fine-tuning moves what survived and never what was masked."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.derivation.derive import derive
from hmnas_tf.derivation.rules import genotype_of
from hmnas_tf.stages.fine_tuning import FineTuning, Regularization


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
    assert scales, "an identity has no batch normalization that could hold its importance"
    gammas = {layer.name: layer.gamma for layer in network.layers if hasattr(layer, "gamma")}
    importances = {name: gamma.numpy() for name, gamma in gammas.items() if 0 < gamma.numpy().max() < 0.9}
    assert len(importances) >= 10
    stage = make_fine_tuning(network)
    for seed in range(4):
        stage.train_step(make_batch(seed))
    for name, kernel in kernels.items():
        assert (kernel.numpy()[before[name] == 0] == 0).all(), name
        assert (kernel.numpy()[before[name] != 0] != before[name][before[name] != 0]).mean() > 0.99, name
    assert {name: network.get_layer(name).scale for name in scales} == scales
    for name, importance in importances.items():
        assert (gammas[name].numpy() != importance).all(), name


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


def make_regularization(network, **changes) -> Regularization:
    """Three gated branches, by their own copy of the classifier's input, and a second classifier."""
    image, gates = keras.Input((8, 8, 1)), keras.Input((3,))
    features = keras.Model(network.inputs, network.layers[-2].output)(image)
    logits = network.layers[-1](features * keras.ops.mean(gates, axis=-1, keepdims=True))
    auxiliary = keras.layers.Dense(logits.shape[-1], name="auxiliary")(features)
    settings = dict(drop_path=0.5, auxiliary_weight=0.25, steps_per_epoch=2, epochs=5, seed=1)
    trained = keras.Model([image, gates], [logits, auxiliary])
    return Regularization(training_network=trained, **(settings | changes))


def test_gates_follow_the_step_alone_and_close_more_often_with_the_epoch(make_stock_network):
    regularization = make_regularization(make_stock_network())
    for epoch, rate in enumerate((0.0, 0.1, 0.2, 0.3, 0.4)):
        gates = regularization.gates(4000, 2 * epoch + 1).numpy()
        assert gates.shape == (4000, 3)
        np.testing.assert_allclose(
            np.unique(gates), np.unique([0.0] * (rate > 0) + [1 / (1 - rate)]), rtol=1e-6
        )
        assert (gates == 0).mean() == pytest.approx(rate, abs=0.02)
        assert (regularization.gates(4000, 2 * epoch + 1).numpy() == gates).all()
    last, other_step = (regularization.gates(4000, step).numpy() for step in (9, 8))
    assert (last != other_step).any()
    assert abs(np.corrcoef(last.T)[0, 1]) < 0.1


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_auxiliary_loss_is_added_with_its_weight_and_trains_its_own_weights(
    smoothing, make_stock_network, make_batch
):
    images, labels = make_batch(0)
    network = make_stock_network()
    stage = make_fine_tuning(network, regularization=make_regularization(network))
    logits, auxiliary = stage.trained([images, tf.ones((8, 3))], training=True)
    stage.label_smoothing = smoothing
    loss, returned = stage.loss_and_logits(images, labels)  # step 0: no gate is closed yet
    smoothed = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    one_hot = keras.ops.one_hot(labels, logits.shape[-1])
    expected = [float(smoothed(one_hot, x)) for x in (logits, auxiliary)]
    assert float(loss) == pytest.approx(expected[0] + 0.25 * expected[1], rel=1e-5)
    assert np.asarray(returned) == pytest.approx(np.asarray(logits), rel=1e-5, abs=1e-6)
    head = stage.trained.get_layer("auxiliary").kernel
    before = head.numpy()
    stage.train_step((images, labels))
    assert (head.numpy() != before).any()
    assert {id(v) for v in stage.trainable_variables} == {id(v) for v in stage.trained.trainable_variables}


def test_masked_weights_stay_0_with_regularization(make_stock_network, make_batch):
    network = make_stock_network()
    stage = make_fine_tuning(network, regularization=make_regularization(network))
    kernels = [network.get_layer(name).kernel for name in ("convolution", "depthwise")]
    masked = [kernel.numpy() == 0 for kernel in kernels]
    for seed in range(3):
        stage.train_step(make_batch(seed))
    for kernel, zeros in zip(kernels, masked, strict=True):
        assert ((kernel.numpy() == 0) == zeros).all()
