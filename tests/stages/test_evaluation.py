"""Test error and batch statistics against NumPy."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.console.progress import Progress
from hmnas_tf.data import evaluation_batches
from hmnas_tf.derivation.derive import derive
from hmnas_tf.derivation.rules import genotype_of
from hmnas_tf.scoring.scores import scores_of
from hmnas_tf.stages import evaluation
from hmnas_tf.stages.evaluation import BatchStatistics, Meter


@pytest.fixture(scope="module")
def examples():
    random = np.random.default_rng(0)
    return random.integers(0, 256, (19, 8, 8, 1)).astype(np.uint8), random.integers(0, 4, 19)


@pytest.fixture(params=["supernet", "derived", "stock"])
def network(request, make_supernet, make_stock_network):
    if request.param == "stock":
        return make_stock_network()
    supernet = make_supernet()
    return (
        supernet
        if request.param == "supernet"
        else derive(supernet, genotype_of(supernet, "masks"), (8, 8, 1))
    )


def batches_of(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(1)
    return [
        ((1 + i) * random.standard_normal((8, 8, 8, 1), np.float32), random.integers(0, 4, 8))
        for i in range(count)
    ]


def dataset_of(batches) -> tf.data.Dataset:
    images, labels = zip(*batches, strict=True)
    return tf.data.Dataset.from_tensor_slices((np.stack(images), np.stack(labels)))


def test_test_error_is_the_share_of_wrong_images_without_the_padding(make_stock_network, examples):
    images, labels = examples
    network = make_stock_network()
    test = evaluation_batches(images, labels, batch_size=8, mean=(0.5,), std=(0.25,))
    assert sum(len(batch[0]) for batch in test) == 24
    meter = Meter(network, test, dataset_of(batches_of(1)), 4)
    for seed in range(2):  # with two last images of different fate, counting the padding would be seen
        network.layers[-1].kernel.assign(np.random.default_rng(seed).standard_normal((4, 4)))
        logits = np.asarray(network(((images / 255.0 - 0.5) / 0.25).astype(np.float32), training=False))
        wrong = logits.argmax(1) != labels
        assert 0 < wrong.sum() < len(wrong)
        assert meter.test_error() == pytest.approx(100 * wrong.mean(), rel=1e-5)
        results, expected = meter.results(), scores_of(labels, logits)
        assert results["test_error"] == meter.test_error()
        assert results["scores"].pop("calibration_error") == pytest.approx(
            expected.pop("calibration_error"), abs=1e-2
        )
        assert results["scores"] == expected


def test_long_passes_say_how_far_they_are(make_stock_network, examples, monkeypatch):
    monkeypatch.setattr(evaluation, "Progress", functools.partial(Progress, every=0.0))
    test, lines = evaluation_batches(*examples, batch_size=8, mean=(0.5,), std=(0.25,)), []
    meter = Meter(make_stock_network(), test, dataset_of(batches_of(2)), 4, lines.append)
    meter.test_error()
    meter.estimate_statistics()
    assert [line.split(",")[0] for line in lines] == [
        "evaluation: 1 of 3 (33 %) done",
        "evaluation: 2 of 3 (66 %) done",
        "batch statistics: estimated again; the first step builds a graph",
        "batch statistics: 1 of 2 (50 %) done",
    ]


def test_a_meter_follows_its_network_and_changes_nothing(make_stock_network, examples, values, bitwise_equal):
    network = make_stock_network()
    test = evaluation_batches(*examples, batch_size=8, mean=(0.5,), std=(0.25,))
    meter = Meter(network, test, dataset_of(batches_of(2)), 4)
    labels = examples[1]
    before = values(network.variables)
    meter.test_error()
    assert bitwise_equal(values(network.variables), before)
    dense = network.layers[-1]
    dense.kernel.assign(np.zeros((4, 4)))
    for winner in range(4):
        dense.bias.assign(np.eye(4)[winner])
        assert meter.test_error() == pytest.approx(100 * (labels != winner).mean(), rel=1e-5)
    trained, averages = values(network.trainable_variables), values(network.non_trainable_variables)
    meter.estimate_statistics()
    assert bitwise_equal(values(network.trainable_variables), trained)
    assert not bitwise_equal(values(network.non_trainable_variables), averages)


def test_statistics_are_the_mean_over_the_batches(network, values, bitwise_equal):
    """One pass in training mode from averages of 0 leaves a tenth of the batch's statistics."""
    batches = batches_of(3)
    averages = network.non_trainable_variables
    sums = [np.zeros(v.shape) for v in averages]
    for images, _ in batches:
        for variable in averages:
            variable.assign(np.full(variable.shape, 7.0, np.float32))
        network(images, training=True)
        for total, variable in zip(sums, averages, strict=True):
            total += (variable.numpy() - 0.9 * 7.0) / 0.1
    before = values(network.trainable_variables)
    BatchStatistics(network).estimate(dataset_of(batches))
    assert bitwise_equal(values(network.trainable_variables), before)
    for total, variable in zip(sums, averages, strict=True):
        assert variable.numpy() == pytest.approx(total / 3, rel=1e-3, abs=1e-3)


def test_statistics_of_the_first_normalization_are_those_of_its_inputs(make_stock_network):
    network, batches = make_stock_network(), batches_of(2)
    layers = {type(layer).__name__: layer for layer in network.layers}
    outputs = [np.asarray(layers["Conv2D"](images)) for images, _ in batches]
    BatchStatistics(network).estimate(dataset_of(batches))
    found = layers["BatchNormalization"]
    mean = np.mean([x.mean((0, 1, 2)) for x in outputs], axis=0)
    variance = np.mean([x.var((0, 1, 2)) for x in outputs], axis=0)
    assert found.moving_mean.numpy() == pytest.approx(mean, rel=1e-4, abs=1e-5)
    assert found.moving_variance.numpy() == pytest.approx(variance, rel=1e-4)


def test_statistics_do_not_depend_on_what_they_were(make_stock_network, values, bitwise_equal):
    network, batches = make_stock_network(), dataset_of(batches_of(2))
    statistics = BatchStatistics(network)
    statistics.estimate(batches)
    first = values(network.non_trainable_variables)
    for variable in network.non_trainable_variables:
        variable.assign(np.full(variable.shape, 3.0))
    statistics.estimate(batches)
    assert bitwise_equal(values(network.non_trainable_variables), first)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_without_a_batch_there_are_no_statistics(make_stock_network):
    statistics = BatchStatistics(make_stock_network())
    with pytest.raises(ValueError, match="at least one batch"):
        statistics.estimate(dataset_of(batches_of(1)).take(0))


def test_evaluation_is_in_inference_mode(make_stock_network, examples):
    """A network whose averages fit no data answers differently in training mode."""
    network = make_stock_network()
    normalization = next(
        layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)
    )
    normalization.moving_mean.assign(np.full(4, 1e4))
    network.layers[-1].bias.assign([0.0, 0.0, 1.0, 0.0])
    test = evaluation_batches(*examples, batch_size=8, mean=(0.5,), std=(0.25,))
    error = Meter(network, test, dataset_of(batches_of(1)), 4).test_error()
    assert error == pytest.approx(100 * (examples[1] != 2).mean(), rel=1e-5)
