"""sigma(t) starts at 1, never rises and ends at its final value; decisions are drawn from it, once."""

from __future__ import annotations

import numpy as np
import pytest

from hmnas_tf.stages.update_schedules import UPDATE_SCHEDULES, decisions, update_probability

FALLING = sorted(set(UPDATE_SCHEDULES) - {"constant"})
every_schedule = pytest.mark.parametrize("schedule", sorted(UPDATE_SCHEDULES))
every_final = pytest.mark.parametrize("final", [0.0, 1e-4, 0.2, 1.0])


def sigma(schedule: str, final: float) -> np.ndarray:
    return np.array([update_probability(schedule, progress, final) for progress in np.linspace(0, 1, 101)])


def table(schedule: str, seed: int = 0, **changes) -> np.ndarray:
    return decisions(schedule, **(dict(final=0.1, steps=4000, warmup_steps=500, seed=seed) | changes))


@every_schedule
@every_final
def test_sigma_starts_at_1_and_never_rises(schedule, final):
    probabilities = sigma(schedule, final)
    assert probabilities[0] == 1.0
    assert (np.diff(probabilities) <= 1e-12).all()
    assert ((probabilities >= 0) & (probabilities <= 1)).all()


@pytest.mark.parametrize("schedule", FALLING)
@every_final
def test_sigma_ends_at_its_final_value(schedule, final):
    assert sigma(schedule, final)[-1] == pytest.approx(final, abs=1e-12)


@pytest.mark.parametrize("schedule", FALLING)
def test_sigma_really_falls_before_the_end(schedule):
    assert 0.02 < update_probability(schedule, 0.5, 0.0) < 0.6


def test_constant_stays_1_whatever_the_final_value():
    assert (sigma("constant", 0.0) == 1.0).all()


def test_half_way_is_what_the_names_say():
    assert update_probability("linear", 0.5, 0.2) == pytest.approx(0.6)
    assert update_probability("cosine", 0.5, 0.2) == pytest.approx(0.6)
    assert update_probability("cosine", 0.25, 0.0) == pytest.approx(0.5 + np.sqrt(0.125))
    assert update_probability("exponential", 0.5, 0.25) == pytest.approx(0.5)


@every_schedule
def test_no_decision_in_the_warmup_and_surely_one_after_it(schedule):
    for seed in range(5):
        chosen = table(schedule, seed)
        assert chosen.shape == (4000,)
        assert chosen.dtype == bool
        assert not chosen[:500].any()
        assert chosen[500]


def test_without_falling_every_step_after_the_warmup_is_chosen():
    assert table("constant")[500:].all()


@every_schedule
def test_decisions_are_a_function_of_the_seed(schedule):
    assert (table(schedule, seed=3) == table(schedule, seed=3)).all()
    if schedule != "constant":
        assert (table(schedule, seed=3) != table(schedule, seed=4)).any()


@every_schedule
def test_share_of_decisions_is_the_mean_of_sigma(schedule):
    expected = sigma(schedule, 0.1).mean()
    shares = [table(schedule, seed)[500:].mean() for seed in range(4)]
    assert np.mean(shares) == pytest.approx(expected, abs=0.02)


def test_decisions_thin_out_towards_the_end():
    chosen = table("linear", final=0.0)[500:]
    quarters = chosen.reshape(4, -1).mean(axis=1)
    assert quarters == pytest.approx([0.875, 0.625, 0.375, 0.125], abs=0.06)


@pytest.mark.parametrize(("steps", "warmup_steps"), [(1, 0), (5, 4), (2, 0)])
def test_the_shortest_stages_have_a_decision(steps, warmup_steps):
    chosen = table("cosine", steps=steps, warmup_steps=warmup_steps)
    assert chosen.shape == (steps,)
    assert chosen[warmup_steps]
