"""The table of budgets that are shares of a supernet: what it makes of searches."""

from __future__ import annotations

from budget_table import table


def test_searches_of_a_budget_are_one_row_with_what_they_use():
    rows = [
        {
            "data": "digits",
            "budget of": of,
            "share": 50,
            "seed": seed,
            "asked": 2000,
            "reached": reached,
            "error": error,
        }
        for of, seed, reached, error in (
            ("parameters", 0, 2000, 1.0),
            ("parameters", 1, 1960, 3.0),
            ("multiply-adds", 0, 1990, 2.0),
        )
    ]
    first, second = table(rows)
    assert first == {
        "data": "digits",
        "budget of": "parameters",
        "share of the supernet %": 50,
        "asked": 2000,
        "reached": "2,000 1,960",
        "used %": "98.0 to 100.0",
        "test error %, mean ± s.e.": "2.00 ± 1.00",
    }
    assert second["test error %, mean ± s.e."] == "2.00"
