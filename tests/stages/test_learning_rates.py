"""Rates as functions of the step; rates in crossings keep their promise when Adam really walks."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from hmnas_tf.config import Config
from hmnas_tf.settings.paper import MASK_INITIAL, MASK_THRESHOLD
from hmnas_tf.stages.learning_rates import (
    FINETUNE_SCHEDULES,
    MASK_RATES,
    cosine,
    crossing_rate,
    dropped,
    finetune_schedule,
)

DISTANCE = MASK_INITIAL - MASK_THRESHOLD


def rates(schedule, steps: int) -> np.ndarray:
    return np.array([float(schedule(step)) for step in range(steps)])


def steps_to_cross(schedule, steps: int, gradient: float) -> int:
    """Returns after how many steps of Adam with one gradient a fresh mask is 0."""
    real_mask = MASK_INITIAL
    first = second = 0.0
    for step in range(steps):
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        corrected = np.sqrt(second / (1 - 0.999 ** (step + 1))) + 1e-7
        real_mask -= float(schedule(step)) * first / (1 - 0.9 ** (step + 1)) / corrected
        if real_mask <= MASK_THRESHOLD:
            return step + 1
    return steps + 1


@pytest.mark.parametrize("shape", FINETUNE_SCHEDULES)
def test_a_warm_up_rises_in_a_line_to_the_schedule_and_follows_it(shape):
    settings = dict(finetune_epochs=5, finetune_schedule=shape, finetune_learning_rate=0.1)
    plain, warm = (
        rates(finetune_schedule(Config(finetune_warmup_epochs=epochs, **settings), 4), 20)
        for epochs in (0, 2)
    )
    assert plain == pytest.approx(rates(FINETUNE_SCHEDULES[shape](0.1, 20), 20))
    assert warm[:8] == pytest.approx(plain[:8] * np.arange(1, 9) / 8)
    assert warm[8:] == pytest.approx(plain[8:])


@pytest.mark.parametrize("drop_at", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("crossing", [0.1, 0.25, 0.5, 0.9])
def test_a_falling_mask_crosses_when_promised(crossing, drop_at):
    steps = 200
    schedule = MASK_RATES["relative"](
        123.0, crossing, distance=DISTANCE, steps=steps, drop_at=drop_at, drop_factor=10.0
    )
    for gradient in (1e-3, 30.0):
        assert steps_to_cross(schedule, steps, gradient) == pytest.approx(crossing * steps, abs=1.5)


def test_a_constant_walk_crosses_at_the_very_step():
    for crossing, drop_at, factor in [(0.3, 0.5, 10.0), (0.8, 0.5, 10.0), (0.8, 0.25, 4.0), (1.0, 0.0, 5.0)]:
        rate = crossing_rate(crossing, distance=1.0, steps=1000, drop_at=drop_at, drop_factor=factor)
        walk = np.cumsum(np.where(np.arange(1000) < drop_at * 1000, rate, rate / factor))
        assert walk[round(crossing * 1000) - 1] == pytest.approx(1.0)


def test_relative_rates_ignore_the_absolute_rate_and_absolute_ones_the_crossing():
    stage = dict(distance=DISTANCE, steps=100, drop_at=0.5, drop_factor=10.0)
    relative = [rates(MASK_RATES["relative"](rate, 0.2, **stage), 100) for rate in (1e-5, 1.0)]
    absolute = [rates(MASK_RATES["absolute"](1e-4, crossing, **stage), 100) for crossing in (0.1, 0.9)]
    assert (relative[0] == relative[1]).all()
    assert relative[0][0] == pytest.approx(DISTANCE / 20)
    assert (absolute[0] == absolute[1]).all()
    assert absolute[0] == pytest.approx([1e-4] * 50 + [1e-5] * 50)


def test_stages_of_any_length_prune_alike():
    rate = [crossing_rate(0.25, distance=DISTANCE, steps=s, drop_at=0.5, drop_factor=10) for s in (40, 4000)]
    assert rate[0] == pytest.approx(100 * rate[1])


@pytest.mark.parametrize(("steps", "at", "full"), [(10, 0.5, 5), (20, 0.25, 5), (7, 0.5, 4), (10, 1.0, 10)])
def test_dropped_is_the_full_rate_for_that_share_of_the_steps(steps, at, full):
    assert rates(dropped(1.0, steps, at, 8.0), steps) == pytest.approx(
        [1.0] * full + [0.125] * (steps - full)
    )


def test_dropped_at_the_start_is_never_the_full_rate():
    assert rates(dropped(1.0, 10, 0.0, 8.0), 10) == pytest.approx([0.125] * 10)


def test_cosine_falls_from_the_rate_to_0():
    steps = np.arange(21)
    assert rates(cosine(0.2, 20), 21) == pytest.approx(0.1 * (1 + np.cos(np.pi * steps / 20)), abs=1e-7)


@pytest.mark.parametrize("name", sorted(FINETUNE_SCHEDULES))
def test_fine_tuning_starts_at_its_rate_and_never_rises(name):
    found = rates(FINETUNE_SCHEDULES[name](0.025, 60), 60)
    assert found[0] == pytest.approx(0.025)
    assert (np.diff(found) <= 1e-9).all()


def test_fine_tuning_in_steps_is_a_tenth_from_half_way():
    found = rates(FINETUNE_SCHEDULES["step"](1e-2, 60), 60)
    assert found == pytest.approx([1e-2] * 30 + [1e-3] * 30)


def test_a_rate_is_a_function_of_the_optimizers_counter():
    optimizer = keras.optimizers.SGD(dropped(1.0, 10, 0.5, 10.0))
    optimizer.iterations.assign(7)
    assert float(optimizer.learning_rate) == pytest.approx(0.1)
