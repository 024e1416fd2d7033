"""The average against its definition in NumPy, over steps of fine-tuning; shown, it leaves no trace."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from hmnas_tf.stages.fine_tuning import FineTuning


def make_stage(network, **changes) -> FineTuning:
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
    settings = dict(optimizer=optimizer, weight_decay=1e-3, gradient_clip=5.0, weight_average=0.5)
    return FineTuning(network, **(settings | changes))


def test_the_average_is_that_of_all_variables_and_young_averages_forget_faster(
    make_stock_network, make_batch, values
):
    network = make_stock_network()
    stage = make_stage(network)
    expected = values(network.variables)
    for step in range(12):
        stage.train_step(make_batch(step))
        decay = min(0.5, (1 + step) / (10 + step))
        for average, value in zip(expected, values(network.variables), strict=True):
            average *= decay
            average += (1 - decay) * value
    assert decay == 0.5, "the last step is in the long run"
    found = values(stage.average.averages)
    assert len(found) == len(network.variables) > len(network.trainable_variables)
    for average, value in zip(found, expected, strict=True):
        assert average == pytest.approx(value, rel=1e-5, abs=1e-6)


def test_steps_are_those_without_an_average(make_stock_network, make_batch, values, bitwise_equal):
    networks = make_stock_network(), make_stock_network()
    stages = [
        make_stage(network, weight_average=decay) for network, decay in zip(networks, (0.9, 0.0), strict=True)
    ]
    for step in range(3):
        for stage in stages:
            stage.train_step(make_batch(step))
    assert stages[1].average is None
    assert bitwise_equal(*(values(network.variables) for network in networks))


def test_it_is_shown_and_taken_away_bit_for_bit(make_stock_network, make_batch, values, bitwise_equal):
    network = make_stock_network()
    kernel = network.get_layer("convolution").kernel
    masked = kernel.numpy() == 0
    stage = make_stage(network)
    for step in range(3):
        stage.train_step(make_batch(step))
    own, averages = values(network.variables), values(stage.average.averages)
    assert not bitwise_equal(own, averages)
    with pytest.raises(KeyError), stage.measured():
        assert bitwise_equal(values(network.variables), averages)
        assert (kernel.numpy()[masked] == 0).all()
        raise KeyError
    assert bitwise_equal(values(network.variables), own)
    stage.finish()
    assert bitwise_equal(values(network.variables), averages)


def test_a_stage_without_one_measures_and_keeps_what_it_trains(
    make_stock_network, make_batch, values, bitwise_equal
):
    network = make_stock_network()
    stage = make_stage(network, weight_average=0.0)
    stage.train_step(make_batch(0))
    own = values(network.variables)
    with stage.measured():
        assert bitwise_equal(values(network.variables), own)
    stage.finish()
    assert bitwise_equal(values(network.variables), own)
    assert np.isfinite(own[0]).all()
