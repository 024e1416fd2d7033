"""What is tried: names, intervals, and what is refused before anything is trained."""

from __future__ import annotations

import dataclasses
import re

import pytest

from hmnas_tf.config import Config
from hmnas_tf.tuning.tuning_space import HYPERPARAMETERS, Interval, space

CONFIG = Config(initial_channels=8, mask_rates="relative")


def test_every_hyperparameter_is_a_setting():
    assert set(HYPERPARAMETERS) <= {field.name for field in dataclasses.fields(Config)}


@pytest.mark.parametrize("rates", ["absolute", "relative"])
def test_auto_is_what_does_anything(rates):
    config = dataclasses.replace(CONFIG, mask_rates=rates)
    found = space(["auto"], config)
    assert {"threshold", "update_probability_final", "initial_channels", "weight_learning_rate"} <= set(found)
    kinds = {"absolute": "rate", "relative": "crossing"}
    assert {name for name in found if "_mask_" in name} == {
        f"{which}_mask_{kinds[rates]}" for which in ("weight", "architecture")
    }
    assert "operation_price" not in found
    assert "operation_price" in space(["auto"], dataclasses.replace(config, operation_price=0.003))
    assert "budget_penalty" not in found
    assert "budget_penalty" in space(["auto"], dataclasses.replace(config, max_parameters=1000))


def test_relative_intervals_lie_around_the_setting():
    found = space(["weight_learning_rate", "initial_channels"], CONFIG)
    assert found["weight_learning_rate"] == Interval(0.2 * 0.1, 5 * 0.1, log=True)
    assert found["initial_channels"] == Interval(4, 16)
    assert space(["initial_channels"], Config(initial_channels=2))["initial_channels"] == Interval(2, 4)


def test_intervals_can_be_given():
    found = space(["threshold:0.001:0.002", "initial_channels:6:12"], CONFIG)
    assert found == {"threshold": Interval(0.001, 0.002), "initial_channels": Interval(6, 12)}


REFUSED = {
    "no_such": ("'no_such'", "threshold"),
    "threshold,threshold": ("'threshold'", "twice"),
    "auto,threshold": ("'auto'", "alone"),
    "": ("''",),
    "threshold:0.001": ("threshold:0.001", "NAME:LOW:HIGH"),
    "threshold:a:b": ("threshold:a:b", "two numbers"),
    "threshold:nan:1": ("threshold:nan:1", "two numbers"),
    "initial_channels:4.5:8": ("initial_channels:4.5:8", "two whole numbers"),
    "threshold:0.002:0.001": ("threshold:0.002:0.001", "less than"),
    "weight_learning_rate:0:1": ("weight_learning_rate:0:1", "above 0"),
    "threshold:0.001:0.02": ("threshold=0.02", "smaller"),
    "initial_channels:3:8": ("initial_channels=3", "even"),
    "update_probability_final:0:2": ("update_probability_final=2", "between 0"),
    "weight_mask_rate": ("weight_mask_rate", "--mask_rates=absolute"),
    "budget_penalty": ("budget_penalty", "--max_parameters"),
}


@pytest.mark.parametrize("asked", REFUSED)
def test_what_is_refused(asked):
    with pytest.raises(ValueError, match=".*".join(map(re.escape, REFUSED[asked]))):
        space(asked.split(","), CONFIG)


def test_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        space([], CONFIG)
