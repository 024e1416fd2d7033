"""Whatever mask search leaves, a budget is never exceeded, and is used."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from hmnas_tf.networks.cost import Masks
from hmnas_tf.networks.count import Count
from hmnas_tf.networks.supernet import Supernet
from hmnas_tf.settings.paper import LEAST_CHANNELS
from hmnas_tf.space.topology import Topology
from hmnas_tf.stages.budgets import Budget
from hmnas_tf.stages.neighbours import LARGER, SMALLER, neighbours
from hmnas_tf.stages.projection import USED, project, smallest_cost

OPERATIONS = ("sep_conv_3x3", "dil_conv_3x3", "max_pool_3x3", "identity")


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    keras.utils.set_random_seed(0)
    made = Supernet(
        Topology(initial_channels=8, cells=3, nodes=2, operations=OPERATIONS), 4, width_masks=True
    )
    made.build((None, 8, 8, 1))
    return made


@pytest.fixture(scope="module")
def budgets(supernet) -> dict[str, Budget]:
    """Budgets of nothing, whose functions are built once for all tests."""
    found = {}
    for name in ("parameters", "multiply_adds"):
        cost = Count(supernet, name)
        set_masks(supernet, lambda shape: np.full(shape, 1e-2))
        found[name] = Budget(name, 1.0, cost, float(cost(Masks.of(supernet).exact())))
    return found


def asked(budget: Budget, share: float) -> Budget:
    return of_size(budget, share * budget.supernet)


def of_size(budget: Budget, size: float) -> Budget:
    other = Budget(budget.name, size, budget.cost, budget.supernet)
    other.__dict__["measured"] = budget.measured
    return other


def set_masks(supernet, values) -> None:
    for mask in (*supernet.architecture_masks, *supernet.width_masks):
        mask.assign(values(mask.shape))


def costs(supernet, budgets) -> list[float]:
    return [float(budget.cost(Masks.of(supernet).exact())) for budget in budgets]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", ["parameters", "multiply_adds"])
def test_a_budget_holds_and_is_used(name, seed, supernet, budgets):
    random = np.random.default_rng(seed)
    middle = random.uniform(3e-3, 8e-3)
    set_masks(supernet, lambda shape: random.normal(middle, 1.5e-3, shape))
    budget = asked(budgets[name], [0.5, 0.3, 0.2, 0.1, 0.05, 0.8][seed])
    project(supernet, [budget])
    (cost,) = costs(supernet, [budget])
    assert USED * budget.asked <= cost <= budget.asked
    assert all(len(kept) >= LEAST_CHANNELS for kept in supernet.widths())


@pytest.mark.parametrize("size", [900, 1200])
def test_several_things_go_for_one_that_needs_more_than_is_free(size):
    """All channels are far above the threshold; without this 82 and 93 % of the budgets are used."""
    topology = Topology(
        initial_channels=4, cells=2, nodes=1, operations=("sep_conv_3x3", "max_pool_3x3", "identity")
    )
    small = Supernet(topology, 4, width_masks=True)
    small.build((None, 8, 8, 3))
    cost = Count(small, "parameters")
    budget = Budget("parameters", size, cost, float(cost(Masks.of(small).exact())))
    project(small, [budget])
    (reached,) = costs(small, [budget])
    assert USED * size <= reached <= size


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_neighbours_differ_by_what_would_go_or_come_next(share, supernet, budgets):
    random = np.random.default_rng(7)
    set_masks(supernet, lambda shape: random.normal(6e-3, 1.5e-3, shape))
    both = [asked(budgets["parameters"], share), asked(budgets["multiply_adds"], 0.9)]
    project(supernet, both)
    before = costs(supernet, both)
    found = neighbours(supernet, both)
    assert list(found) == [SMALLER, LARGER]
    assert costs(supernet, both) == before
    for direction, (change, changed) in found.items():
        assert change.startswith("with " if direction == LARGER else "without ")
        assert change.endswith(
            ("of cell 0", "of cell 1", "of cell 2", "of cell 0, 1", "of cell 1, 2", "of cell 0, 2")
        )
        assert (changed > before).all() if direction == LARGER else (changed < before).all()
    assert found[LARGER][1][0] > both[0].asked


def test_the_whole_supernet_has_nothing_larger_beside_it(supernet, budgets):
    set_masks(supernet, lambda shape: np.full(shape, 1e-2))
    assert list(neighbours(supernet, [asked(budgets["parameters"], 1.5)])) == [SMALLER]


def test_two_budgets_hold_together(supernet, budgets):
    random = np.random.default_rng(9)
    set_masks(supernet, lambda shape: random.normal(8e-3, 1e-3, shape))
    both = [asked(budgets["parameters"], 0.3), asked(budgets["multiply_adds"], 0.1)]
    project(supernet, both)
    used = [cost / budget.asked for cost, budget in zip(costs(supernet, both), both, strict=True)]
    assert max(used) <= 1
    assert max(used) >= USED


def test_what_is_within_already_stays_as_it_is(supernet, budgets):
    random = np.random.default_rng(3)
    set_masks(supernet, lambda shape: np.where(random.random(shape) < 0.8, 1e-2, 0.0))
    before = [mask.numpy() for mask in supernet.real_masks]
    (cost,) = costs(supernet, [budgets["parameters"]])
    assert project(supernet, [of_size(budgets["parameters"], cost)]) == {"gone": 0, "back": 0}
    after = [mask.numpy() > supernet.threshold for mask in supernet.real_masks]
    assert costs(supernet, [budgets["parameters"]]) == [cost]
    assert sum(int((a & (b <= supernet.threshold)).sum()) for a, b in zip(after, before, strict=True)) == 0


def test_the_lowest_for_what_it_costs_goes(supernet, budgets):
    """All masks are equally high but one, whose operation is just what has to go."""
    set_masks(supernet, lambda shape: np.full(shape, 1e-2))
    mask, budget = supernet.encodings[0].operation_mask, budgets["parameters"]
    (whole,) = costs(supernet, [budget])
    values = mask.numpy()
    values[1, 0] = 0.0
    mask.assign(values)
    (without,) = costs(supernet, [budget])
    values[1, 0] = 5.001e-3
    mask.assign(values)
    assert without < whole
    assert project(supernet, [of_size(budget, whole - 1)]) == {"gone": 1, "back": 0}
    assert mask.numpy()[1, 0] <= supernet.threshold


def test_the_smallest_network_is_found_even_where_masks_want_the_largest(supernet, budgets):
    (least,) = smallest_cost(supernet, [budgets["parameters"]], [1.0])
    set_masks(supernet, lambda shape: np.full(shape, 1e-2))
    for encoding in supernet.encodings:
        values = encoding.operation_mask.numpy()
        values[:, 0] = 1.0  # the dearest operation is the highest by far
        encoding.operation_mask.assign(values)
    budget = of_size(budgets["parameters"], float(least))
    project(supernet, [budget])
    assert costs(supernet, [budget]) == [pytest.approx(float(least))]


def test_what_no_network_can_be_is_refused(supernet, budgets):
    with pytest.raises(ValueError, match="no network of this space"):
        project(supernet, [asked(budgets["parameters"], 1e-4)])


def test_it_is_a_function_of_the_masks(supernet, budgets):
    def once() -> list[np.ndarray]:
        random = np.random.default_rng(4)
        set_masks(supernet, lambda shape: random.normal(7e-3, 1e-3, shape))
        project(supernet, [asked(budgets["multiply_adds"], 0.2)])
        return [mask.numpy() for mask in supernet.real_masks]

    for one, other in zip(once(), once(), strict=True):
        np.testing.assert_array_equal(one, other)
