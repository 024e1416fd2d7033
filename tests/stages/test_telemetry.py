"""Rows, lines and counts of an epoch."""

from __future__ import annotations

import types

import keras
import numpy as np
import pytest

from hmnas_tf.stages import telemetry as telemetry_module
from hmnas_tf.stages.telemetry import (
    COLUMNS,
    EpochTelemetry,
    TestError,
    read_rows,
    write_row,
)

TestError.__test__ = False  # it is a callback, not a class of tests


def row(stage: str, epoch: int, **entries):
    return {"stage": stage, "epoch": epoch, "loss": 0.5} | entries


def places(path) -> list[tuple[str, str]]:
    return [(found["stage"], found["epoch"]) for found in read_rows(path)]


def test_a_missing_file_has_no_rows(tmp_path):
    assert read_rows(tmp_path / "metrics.csv") == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("stage,epoch,loss\nmask search,1,0.5\nmask search,2\n", 3),
        ("stage,epoch,loss\nmask search,1,0.5\nmask search,2,", 3),
        ("stage,epoch\nmask search,1,2\n", 2),
        ("mask search,1\nmask search,2\n", 2),
        ("stage;epoch\nmask search;1\n", 2),
        ("stage,epoch\nmask search,nan\n", 2),
    ],
)
def test_a_line_that_is_not_whole_is_named(text, line, tmp_path):
    (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(ValueError, match=f"metrics.csv: line {line} is not what a run writes there: mend it"):
        read_rows(tmp_path / "metrics.csv")


def test_rows_are_appended_with_all_columns(tmp_path):
    path = tmp_path / "metrics.csv"
    write_row(path, row("supernet training", 1, error=12.5, unknown=3))
    write_row(path, row("mask search", 1, operations=7))
    assert path.read_text(encoding="utf-8").splitlines()[0] == ",".join(COLUMNS)
    first, second = read_rows(path)
    assert tuple(first) == COLUMNS
    assert (first["stage"], first["loss"], first["error"], first["operations"]) == (
        "supernet training",
        "0.5",
        "12.5",
        "",
    )
    assert (second["stage"], second["operations"]) == ("mask search", "7")


def test_a_repeated_epoch_replaces_its_row_and_later_ones_of_its_stage_only(tmp_path):
    path = tmp_path / "metrics.csv"
    for epoch in (1, 2, 3):
        write_row(path, row("supernet training", epoch))
    write_row(path, row("mask search", 1))
    write_row(path, row("supernet training", 2, loss=0.25))
    assert places(path) == [("supernet training", "1"), ("mask search", "1"), ("supernet training", "2")]
    assert read_rows(path)[-1]["loss"] == "0.25"


def test_numbers_of_any_kind_are_written_as_numbers(tmp_path):
    path = tmp_path / "metrics.csv"
    numbers = dict(loss=np.float32(1 / 3), error=keras.ops.convert_to_tensor(2 / 3), seconds=1e-9)
    write_row(path, row("mask search", 1, **numbers))
    (found,) = read_rows(path)
    assert float(found["loss"]) == pytest.approx(1 / 3, rel=1e-5)
    assert float(found["error"]) == pytest.approx(2 / 3, rel=1e-5)
    assert float(found["seconds"]) == 1e-9


def watched(callback: keras.callbacks.Callback, iterations: int, rate: float = 0.1):
    optimizer = keras.optimizers.SGD(rate)
    optimizer.iterations.assign(iterations)
    callback.set_model(types.SimpleNamespace(optimizer=optimizer))
    return callback


def test_an_epoch_is_a_row_and_a_line(tmp_path):
    lines = []
    telemetry = EpochTelemetry("mask search", 20, 5, tmp_path / "metrics.csv", lines.append)
    watched(telemetry, 15)
    telemetry.on_epoch_begin(2)
    logs = dict(loss=0.5, error=12.0, test_error=15.0, operations=7, edges=4, weight_density=0.5)
    telemetry.on_epoch_end(2, logs)
    (found,) = read_rows(tmp_path / "metrics.csv")
    assert (found["stage"], found["epoch"], found["test_error"]) == ("mask search", "3", "15")
    assert float(found["learning_rate"]) == pytest.approx(0.1)
    (line,) = lines
    for part in (
        "mask search",
        "3/20",
        "0.5000",
        "12.00 %",
        "15.00 %",
        "7 operations, 4 edges, 50.0 % weights",
    ):
        assert part in line
    assert "\n" not in line


def test_an_epoch_stopped_within_has_no_row(tmp_path):
    lines = []
    telemetry = watched(EpochTelemetry("mask search", 20, 5, tmp_path / "metrics.csv", lines.append), 13)
    telemetry.on_epoch_begin(2)
    telemetry.on_epoch_end(2, dict(loss=0.5, error=12.0))
    assert not lines
    assert read_rows(tmp_path / "metrics.csv") == []


def test_a_line_tells_the_time_left_of_the_stage_and_the_row_does_not(tmp_path, monkeypatch):
    lines, now = [], [0.0]
    monkeypatch.setattr(telemetry_module.time, "monotonic", lambda: now[0])
    telemetry = EpochTelemetry("mask search", 5, 2, tmp_path / "metrics.csv", lines.append)
    for epoch, (first, second) in enumerate(((560, 40), (30, 30), (30, 30), (60, 60), (30, 30))):
        watched(telemetry, 2 * (epoch + 1))
        telemetry.on_epoch_begin(epoch)
        for step, seconds in enumerate((first, second)):
            now[0] += seconds
            telemetry.on_train_batch_end(step)
        telemetry.on_epoch_end(epoch, dict(loss=0.5, error=12.0))
    # The first step, which also builds the graph, is no measure; while there is one epoch only, its other steps are.
    assert [line.split(" s, ")[1:] for line in lines] == [
        ["about 5 min left"],
        ["about 3 min left"],
        ["about 2 min left"],
        ["about 60 s left"],
        [],
    ]
    assert "left" not in (tmp_path / "metrics.csv").read_text(encoding="utf-8")


def test_one_step_is_no_measure(tmp_path):
    lines = []
    telemetry = watched(EpochTelemetry("mask search", 5, 1, tmp_path / "metrics.csv", lines.append), 1)
    telemetry.on_epoch_begin(0)
    telemetry.on_train_batch_end(0)
    telemetry.on_epoch_end(0, dict(loss=0.5, error=12.0))
    assert "left" not in lines[0]


def test_a_long_epoch_says_how_far_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(telemetry_module, "WITHIN_EPOCH", 0.0)
    lines, steps = [], []
    telemetry = EpochTelemetry("mask search", 5, 4, tmp_path / "metrics.csv", lines.append, steps.append)
    watched(telemetry, 0)
    telemetry.on_epoch_begin(1)
    for step in range(4):
        telemetry.on_train_batch_end(step)
    assert lines == []
    assert steps == [
        "mask search epoch 2/5, steps: 1 of 4 (25 %) done",
        "mask search epoch 2/5, steps: 2 of 4 (50 %) done, a few seconds left",
        "mask search epoch 2/5, steps: 3 of 4 (75 %) done, a few seconds left",
    ]


@pytest.mark.parametrize(("every", "epochs"), [(0, []), (1, [0, 1, 2, 3, 4, 5]), (3, [2, 5])])
def test_test_error_is_measured_every_few_epochs(every, epochs):
    callback = TestError(lambda: 7.5, every)
    measured = []
    for epoch in range(6):
        logs = {}
        callback.on_epoch_end(epoch, logs)
        measured += [epoch] if logs == {"test_error": 7.5} else []
    assert measured == epochs
