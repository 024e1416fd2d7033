"""Lists of budgets become networks: names, order, and what is refused."""

from __future__ import annotations

import pytest

from hmnas_tf.sizes.budget_lists import networks


def test_one_list_is_a_network_each_the_smallest_first():
    found = networks({"parameters": [30000, 10000, 78000], "multiply_adds": []})
    assert list(found) == ["parameters_10000", "parameters_30000", "parameters_78000"]
    assert found["parameters_30000"] == {"parameters": 30000}


def test_lists_of_several_costs_belong_together_and_one_value_is_for_all():
    found = networks({"parameters": [300, 100], "multiply_adds": [5000, 4000], "latency_ms": [0.5]})
    assert list(found.values()) == [
        {"parameters": 100, "multiply_adds": 4000, "latency_ms": 0.5},
        {"parameters": 300, "multiply_adds": 5000, "latency_ms": 0.5},
    ]
    assert next(iter(found)) == "parameters_100_multiply_adds_4000_latency_ms_0.5"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "no budget is given"),
        ({"parameters": [], "latency_ms": []}, "no budget is given"),
        ({"parameters": [10, 0]}, "max_parameters=0 is out of range"),
        ({"latency_ms": [-0.5]}, "max_latency_ms=-0.5 is out of range"),
        (
            {"parameters": [10, 20, 30], "multiply_adds": [1, 2]},
            "max_multiply_adds has 2 values where another has 3",
        ),
        ({"parameters": [10, 10]}, "asked for twice"),
    ],
)
def test_lists_that_mean_nothing_are_refused(asked, words):
    with pytest.raises(ValueError, match=words):
        networks(asked)
