"""Networks of several sizes in the report: a table, a chart, and a verdict that does not claim more than it knows."""

from __future__ import annotations

import math

import pytest

from hmnas_tf.drawing.error_by_size import error_by_size
from hmnas_tf.drawing.picture import as_svg
from hmnas_tf.reporting.page import page
from hmnas_tf.reporting.sizes import worth


def record(network: str, kind: str, error: float, **changes) -> dict[str, str]:
    """As it is read from the table: all text."""
    numbers = dict(
        params=1000, flops=20_000, milliseconds=0.25, epochs=9, supernet_seconds=40.0, seconds=60.0
    )
    return {"network": network, "kind": kind, "test_error": str(error)} | {
        key: str(value) for key, value in (numbers | changes).items()
    }


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        (10.0, 20.0, "better by 10.00 points, more than"),
        (20.0, 10.0, "worse by 10.00 points, more than"),
        (10.0, 10.5, "better by 0.50 points, not more than"),
        (10.0, 10.0, "equal."),
    ],
)
def test_a_verdict_says_how_sure_it_is(ours, theirs, words):
    records = [
        record("small", "masks", ours),
        record("small", "top2", 50.0),
        record("small", "random", theirs),
    ]
    (line,) = worth(records, 1000)
    assert words in line
    assert line.startswith(f"small: {ours:.2f} % test error, the best rival (random) {theirs:.2f} %")
    assert "60 s after the supernet's 40 s" in line
    assert line.endswith("the rival 100 s.")
    if ours != theirs:
        chance = 200 * math.sqrt(sum(p / 100 * (1 - p / 100) for p in (ours, theirs)) / 1000)
        assert f"{chance:.2f} points that chance" in line


def test_networks_without_rivals_have_no_verdict():
    assert worth([record("small", "masks", 10.0), record("large", "random", 9.0)], 100) == []


def test_the_chart_has_a_line_for_each_kind_and_a_panel_for_each_size_that_all_have():
    records = [
        record("a", "masks", 12, params=10),
        record("b", "masks", 9, params=20),
        record("a", "random", 14, params=10),
    ]
    svg = as_svg(error_by_size(records), title="t", description="d", key="k")
    for panel in ("params", "flops", "milliseconds"):
        for kind in ("masks", "random"):
            assert f'id="k-{panel}-{kind}"' in svg
    records[0]["milliseconds"] = ""
    svg = as_svg(error_by_size(records), title="t", description="d", key="k")
    assert "milliseconds" not in svg


def test_the_report_has_them(make_facts, parse):
    parsed = parse(page(make_facts()))
    assert "One supernet, several sizes" in parsed.words("h2")
    assert "Was it worth it?" in parsed.words("h3")
    assert "parameters_500" in parsed.words("th")
    assert "better by 2.50 points" in parsed.words("p")
    assert "One supernet" not in parse(page(make_facts(sizes=[]))).words("h2")
