"""The pressure of budgets is the augmented Lagrangian it claims to be, and moves nothing but masks."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.networks.cost import Masks
from hmnas_tf.networks.count import Count
from hmnas_tf.stages.budgets import FLIPS, MEMORY, PACE, RAMP, SETTLING, Budget, Pressure
from hmnas_tf.stages.mask_search import MaskSearch

STEPS, KAPPA = 20, 12.0


@pytest.fixture(scope="module")
def supernet(make_supernet):
    return make_supernet(width_masks=True)


@pytest.fixture
def fresh(supernet):
    """The supernet with the masks of the beginning."""
    for mask in supernet.real_masks:
        mask.assign(np.full(mask.shape, 1e-2, np.float32))
    return supernet


def budget_of(supernet, name: str = "parameters", share: float = 0.3) -> Budget:
    cost = Count(supernet, name)
    whole = float(cost(Masks.of(supernet)))
    return Budget(name, share * whole, cost, whole)


def make_search(supernet, pressure, rate=1e-4) -> MaskSearch:
    return MaskSearch(
        supernet,
        weight_mask_optimizer=keras.optimizers.Adam(rate),
        architecture_mask_optimizer=keras.optimizers.Adam(rate),
        pressure=pressure,
    )


def test_bound_and_multiplier_are_those_of_the_formula(fresh):
    budgets = [budget_of(fresh), budget_of(fresh, "multiply_adds", 0.5)]
    pressure = Pressure(fresh, budgets, steps=STEPS, penalty=KAPPA, drop_at=0.8)
    mu = np.zeros(2)
    for step in range(STEPS):
        bounds = [b.supernet - (b.supernet - b.asked) * min(1, step / (RAMP * 0.8 * STEPS)) for b in budgets]
        excess = np.array([b.supernet for b in budgets]) / bounds - 1
        prices = np.maximum(0, mu + KAPPA * excess)
        found = pressure.report(step)
        for i, budget in enumerate(budgets):
            assert found[f"{budget.name}_cost"] == pytest.approx(budget.supernet)
            assert found[f"{budget.name}_bound"] == pytest.approx(bounds[i], rel=1e-5)
            assert found[f"{budget.name}_multiplier"] == pytest.approx(prices[i], rel=1e-4, abs=1e-5)
        pressure.learn(pressure.excess(step)[1])
        mu = np.maximum(0, mu + KAPPA * excess / (MEMORY * STEPS))
    assert mu.min() > 0
    assert bounds == pytest.approx([budget.asked for budget in budgets])


def test_what_is_added_has_the_price_of_a_mask_as_gradient(fresh):
    budget = budget_of(fresh)
    pressure = Pressure(fresh, [budget], steps=STEPS, penalty=KAPPA)
    masks = [mask.value for mask in (*fresh.architecture_masks, *fresh.width_masks)]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(masks)
        costs, excess = pressure.excess(STEPS)
        added, cost = pressure.added(costs, excess), budget.cost(Masks.of(fresh))
    price = KAPPA * (budget.supernet / budget.asked - 1) / budget.supernet
    for of_added, of_cost in zip(tape.gradient(added, masks), tape.gradient(cost, masks), strict=True):
        np.testing.assert_allclose(of_added, price * np.asarray(of_cost), rtol=1e-4)
        assert np.asarray(of_cost).any()


def test_only_masks_move_and_they_fall(fresh, make_batch, values, bitwise_equal):
    frozen = [*fresh.network_weights, *fresh.architecture_parameters]
    pressure = Pressure(fresh, [budget_of(fresh, share=0.1)], steps=STEPS, penalty=1e3)
    search = make_search(fresh, pressure)
    search.optimizer.iterations.assign(STEPS - 4)
    before = values(frozen)
    for seed in range(2):
        search.train_step(make_batch(seed))
    assert bitwise_equal(values(frozen), before)
    assert all((mask.numpy() < 1e-2).all() for mask in fresh.width_masks)
    assert float(pressure.multipliers.numpy()[0]) > 0


def test_channels_go_slower_than_operations(fresh, make_batch):
    """Adam's first step is its rate, whatever the gradient: down, where the price is all that counts."""
    rate = 1e-4
    search = make_search(
        fresh, Pressure(fresh, [budget_of(fresh, share=0.1)], steps=STEPS, penalty=1e6), rate
    )
    search.optimizer.iterations.assign(STEPS - 4)
    search.train_step(make_batch(0))
    ways = [1e-2 - mask.numpy() for mask in fresh.width_masks]
    np.testing.assert_allclose(np.concatenate(ways), PACE * rate, rtol=1e-3)
    priced = fresh.encodings[0].operation_mask.numpy() - 1e-2
    assert priced.min() == pytest.approx(-rate, rel=1e-3)


def test_a_mask_that_goes_to_and_fro_stays_where_it_is(fresh):
    pressure = Pressure(fresh, [budget_of(fresh)], steps=STEPS, penalty=KAPPA)
    late, mask = int(SETTLING * STEPS), fresh.encodings[0].edge_mask

    def move(values, step) -> np.ndarray:
        before = pressure.states()
        mask.assign(np.float32(values))
        pressure.settle(before, step)
        return mask.numpy()

    on, off = (np.full(mask.shape, 1e-2, np.float32) for _ in range(2))
    off[0] = 0.0
    for flip in range(FLIPS):
        np.testing.assert_array_equal(move(on if flip % 2 else off, late - 1), on if flip % 2 else off)
    flips = dict(zip(map(id, pressure.watched), pressure.flips, strict=True))[id(mask)]
    assert flips.numpy().tolist() == [FLIPS] + [0] * (len(on) - 1)
    moved = move(2 * on, late)
    assert moved[0] == off[0]
    np.testing.assert_array_equal(moved[1:], 2 * on[1:])


def test_without_a_pressure_there_is_no_new_variable(make_supernet):
    plain = make_search(make_supernet(), None)
    assert not any("multiplier" in variable.name or "flips" in variable.name for variable in plain.variables)
