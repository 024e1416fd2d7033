"""The leaderboard: who is first, who is unbeaten, what stands in the tables."""

from __future__ import annotations

import csv
import io
import math

from hypothesis import given
from hypothesis import strategies as st

from hmnas_tf.tuning.leaderboard import Record, csv_text, front, markdown, ranked


def completed(trial: str, score: float, error: float, params: int, **changes) -> Record:
    stage = {"test_error": error, "params": params, "params_nonzero": params - 1, "flops": 10 * params}
    return Record(trial, "completed", score, {"threshold": 0.00123456}, stage, seconds=12.4)._replace(
        **changes
    )


RECORDS = [
    completed("trial_0", 3.0, 5.0, 1000),
    Record("trial_1", "failed", math.nan, {"threshold": 0.009}, {}, reason="the loss became nan"),
    completed("trial_2", 1.0, 4.0, 2000),
    completed("trial_3", 2.0, 6.0, 3000),
    Record("trial_4", "running", math.nan, {"threshold": 0.002}, {}),
]


def test_the_least_score_is_first_and_the_unfinished_are_last():
    assert [r.trial for r in ranked(RECORDS)] == ["trial_2", "trial_3", "trial_0", "trial_1", "trial_4"]


def test_the_front_is_what_nobody_beats():
    assert front(RECORDS) == {"trial_0", "trial_2"}
    assert front([*RECORDS, completed("twin", 9.0, 4.0, 2000)]) == {"trial_0", "trial_2", "twin"}


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5)), max_size=8))
def test_the_front_is_never_empty_and_beats_the_rest(points):
    records = [completed(str(i), 0.0, float(error), params) for i, (error, params) in enumerate(points)]
    best = front(records)
    assert bool(best) == bool(points)
    for i, (error, params) in enumerate(points):
        beaten = [j for j in best if points[int(j)][0] <= error and points[int(j)][1] <= params]
        assert beaten, f"{i} is beaten by nobody on the front"


def test_the_csv_has_a_line_a_trial():
    rows = list(csv.DictReader(io.StringIO(csv_text(RECORDS))))
    assert [row["trial"] for row in rows] == [r.trial for r in ranked(RECORDS)]
    assert [row["rank"] for row in rows] == ["1", "2", "3", "", ""]
    assert rows[0]["threshold"] == "0.00123456"
    assert [row["unbeaten"] for row in rows] == ["1", "0", "1", "0", "0"]
    assert rows[3]["reason"] == "the loss became nan"
    assert rows[3]["score"] == ""


def test_the_table_says_the_same():
    table = markdown(RECORDS, error="error on test images %", score="score (both)")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.splitlines()
        if line[:1] == "|"
    ]
    assert len({len(row) for row in rows}) == 1
    assert rows[0][2:4] == ["score (both)", "error on test images %"]
    assert rows[2][:5] == ["1*", "trial_2", "1", "4.00", "2,000"]
    assert rows[3][0] == "2"
    assert [row[0] for row in rows[5:]] == ["failed", "running"]
    assert "trial_1 failed: the loss became nan" in table
    assert "epochs" not in rows[0]


def test_parts_of_the_epochs_have_a_column():
    table = markdown([*RECORDS, completed("trial_5", 0.5, 4.0, 2000, budget=1 / 3)], error="e", score="s")
    assert "| epochs |" in table
    assert "| 33 % |" in table


def test_nothing_is_a_table_too():
    assert markdown([], error="e", score="s").startswith("| rank |")
    assert list(csv.DictReader(io.StringIO(csv_text([])))) == []
