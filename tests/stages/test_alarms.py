"""Warnings come when they should, with their numbers and a remedy that works, and not otherwise."""

from __future__ import annotations

import re

import numpy as np
import pytest

from hmnas_tf.config import Config
from hmnas_tf.settings.paper import MASK_INITIAL
from hmnas_tf.stages.alarms import COLLAPSED, collapse, nothing_pruned, surviving, too_short_to_prune
from hmnas_tf.stages.architecture_telemetry import strongest_operations
from hmnas_tf.stages.learning_rates import mask_schedules, way

DISTANCE = MASK_INITIAL - Config().threshold
FLAGS = {*Config().to_dict()}


def assert_remedies_exist(line: str) -> None:
    flags = re.findall(r"--(\w+)", line)
    assert flags
    assert set(flags) <= FLAGS
    assert "\n" not in line


@pytest.mark.parametrize(("preferring", "warned"), [(0, False), (10, False), (11, True), (14, True)])
def test_a_collapse_is_judged_by_the_share_of_edges(preferring, warned, make_supernet):
    supernet = make_supernet(nodes=4)
    assert 10 / 14 < COLLAPSED <= 11 / 14
    supernet.encodings[0].alpha.assign(
        np.eye(3)[[1, 2] * 7][:preferring].tolist() + [[1, 0, 0]] * (14 - preferring)
    )
    lines = collapse(supernet, strongest_operations(supernet), 12)
    assert bool(lines) is warned
    for line in lines:
        assert f"after epoch 12, {preferring} of 14 edges of cell 0 prefer" in line
        assert "some of max_pool_3x3, identity out" in line
        assert_remedies_exist(line)


def test_a_collapse_of_any_group_of_cells_is_told_in_one_line(make_supernet):
    supernet = make_supernet(cells=4)
    assert (
        supernet.groups == (0, 1, 1, 0) or supernet.groups == (0, 1, 0, 1) or len(set(supernet.groups)) == 2
    )
    sound, fallen = np.zeros(5, int), np.full(5, 2)
    assert not collapse(supernet, [sound, sound], 1)
    for chosen, count in (([fallen, sound], 1), ([sound, fallen], 1), ([fallen, fallen], 2)):
        (line,) = collapse(supernet, chosen, 1)
        assert line.count("5 of 5 edges of cells") == count
        for group, columns in enumerate(chosen):
            cells = ", ".join(str(index) for index, own in enumerate(supernet.groups) if own == group)
            assert (f"of cells {cells}" in line) is bool(columns.any())


@pytest.mark.parametrize(
    ("operations", "column"), [(("max_pool_3x3", "identity"), 1), (("sep_conv_3x3", "dil_conv_3x3"), 0)]
)
def test_where_there_is_no_choice_there_is_no_collapse(operations, column, make_supernet):
    supernet = make_supernet(operations=operations)
    assert not collapse(supernet, [np.full(5, column)], 1)


def test_the_papers_stages_are_long_enough_for_the_papers_rates():
    assert not too_short_to_prune(Config(), 20 * 390)  # CIFAR-10: 50,000 images, batch 128


def test_a_short_stage_is_told_with_numbers_of_each_kind():
    architecture, weight = too_short_to_prune(Config(), 20 * 4)
    for line, kind, rate in ((architecture, "operation and edge", 1e-5), (weight, "weight", 1e-4)):
        reach = 40 * rate + 40 * rate / 10
        assert f"by {kind} masks" in line
        assert f"{reach:.2g} at most in all 80 steps" in line
        assert f"{DISTANCE:.2g} away" in line
        assert "--mask_rates=relative" in line
        assert_remedies_exist(line)
    (line,) = too_short_to_prune(Config(), 20 * 40)
    assert "by operation and edge masks" in line


@pytest.mark.parametrize(
    "settings", [{}, {"mask_drop_at": 0.25}, {"mask_drop_factor": 3.0}, {"threshold": 0.0}]
)
def test_with_the_epochs_it_names_the_stage_is_long_enough(settings):
    steps = 8  # an epoch
    for line in too_short_to_prune(Config(**settings), 20 * steps):
        kind = "architecture" if "operation" in line else "weight"
        enough = int(re.search(r"--mask_epochs=(\d+)", line)[1])
        reach = {
            epochs: way(
                mask_schedules(Config(mask_epochs=epochs, **settings), epochs * steps)[kind], epochs * steps
            )
            for epochs in (enough - 4, enough)
        }
        distance = MASK_INITIAL - Config(**settings).threshold
        assert reach[enough - 4] < distance <= reach[enough] * (1 + 1e-6)


@pytest.mark.parametrize("steps", [2, 7, 40, 800])
def test_relative_rates_are_never_too_slow_but_at_the_last_step(steps):
    assert not too_short_to_prune(Config(mask_rates="relative"), steps)


def test_the_remedy_for_relative_rates_is_an_earlier_crossing():
    # The rates drop after whole steps, here 2 of 5, so that all of them make less than the whole way.
    config = Config(mask_rates="relative", architecture_mask_crossing=1.0)
    (line,) = too_short_to_prune(config, 5)
    assert "--architecture_mask_crossing, now 1." in line
    assert_remedies_exist(line)


def test_a_rate_of_0_has_a_remedy_too():
    line, *_ = too_short_to_prune(Config(architecture_mask_rate=0), 20 * 390)
    assert "raise --architecture_mask_rate, now 0" in line
    assert "mask_epochs" not in line


@pytest.mark.parametrize(
    ("rates", "remedy"),
    [("absolute", "raise --architecture_mask_rate, now 1e-05"), ("relative", "_mask_crossing, now 0.5")],
)
def test_a_search_that_removed_nothing_is_told(rates, remedy, make_supernet):
    supernet = make_supernet()
    supernet.weight_masks[0].assign(np.zeros(supernet.weight_masks[0].shape))  # weights do not count
    (line,) = nothing_pruned(supernet, Config(mask_rates=rates))
    assert "none of 15 operations and none of 5 edges" in line
    assert "--operation_price, now 0 nats" in line
    assert remedy in line
    assert_remedies_exist(line)


@pytest.mark.parametrize("mask", [0, 1])
def test_a_search_that_removed_an_operation_or_an_edge_is_not(mask, make_supernet):
    supernet = make_supernet()
    real_mask = supernet.encodings[0].real_masks[mask]
    value = np.array(real_mask)
    value.flat[-1] = 0.0
    real_mask.assign(value)
    assert not nothing_pruned(supernet, Config())
    assert surviving(supernet) == ((14, 5) if mask == 0 else (12, 4))
