"""A tuning: its trials are runs, its leaderboard is what they found, its best settings are a flag file."""

from __future__ import annotations

import csv
import dataclasses
import json
import math

import pytest
from absl import flags

from hmnas_tf import command_line
from hmnas_tf.tuning.tuning import OBJECTIVES, Tuning, tune

pytestmark = pytest.mark.slow

SPACE = ("threshold", "initial_channels:4:6")
TUNING = Tuning(tuner="random", objective="both", hyperparameters=SPACE, trials=2, halving_worth=2.0)


@pytest.fixture(scope="module")
def config(make_config):
    return make_config(supernet_epochs=2, mask_epochs=1, finetune_epochs=1, evaluate_every=0)


@pytest.fixture(scope="module")
def finished(patterns, config, tmp_path_factory):
    """The records of two trials, what was said, and the folder."""
    workdir, lines = tmp_path_factory.mktemp("tuning") / "run", []
    return tune(patterns, config, workdir, TUNING, say=lines.append), lines, workdir


def results(workdir, trial: str) -> dict:
    return json.loads((workdir / "trials" / trial / "run" / "results.json").read_text(encoding="utf-8"))


def test_a_record_is_what_its_run_found(finished):
    records, _, workdir = finished
    assert {record.trial for record in records} == {"trial_0", "trial_1"}
    for record in records:
        stages = results(workdir, record.trial)["stages"]
        stage = stages["finetuned"]
        assert dict(record.stage) == {key: stage[key] for key in record.stage}
        assert record.score == pytest.approx(stage["test_error"] + 2.0 * math.log2(stage["params"]))
        assert record.seconds == pytest.approx(sum(each["seconds"] for each in stages.values()))
        lines = (workdir / "trials" / record.trial / "run" / "run.flags").read_text().splitlines()
        assert f"--initial_channels={record.values['initial_channels']}" in lines
        assert f"--threshold={record.values['threshold']}" in lines
        assert "--formats=keras" in lines
    assert records[0].score <= records[1].score


def test_the_leaderboard_is_written_and_shown(finished):
    records, lines, workdir = finished
    table = (workdir / "leaderboard.md").read_text(encoding="utf-8")
    assert table in lines
    assert "error on test images %" in table
    with (workdir / "leaderboard.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["trial"] for row in rows] == [record.trial for record in records]
    assert [float(row["threshold"]) for row in rows] == [record.values["threshold"] for record in records]
    assert str(workdir / "best.flags") in lines[-1]


def test_the_best_settings_are_a_flag_file(finished, config):
    records, _, workdir = finished
    values = flags.FlagValues()
    command_line.define_flags(values)
    values(["search", *command_line.with_flag_files([f"--flagfile={workdir / 'best.flags'}"])])
    best = dataclasses.replace(config, **records[0].values)
    assert command_line.config_of_flags(values) == best
    assert values["workdir"].value == str(workdir / "best")


def test_called_again_it_trains_nothing(finished, patterns, config):
    records, _, workdir = finished
    lines: list[str] = []
    before = {path: path.stat().st_mtime_ns for path in (workdir / "trials").rglob("run/*") if path.is_file()}
    assert tune(patterns, config, workdir, TUNING, say=lines.append) == records
    assert not [line for line in lines if line.startswith(("trial", "Stage"))]
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_another_tuning_is_refused(finished, patterns, config):
    _, _, workdir = finished
    for changes, words in (
        (dict(objective="params"), "objective was 'both', now 'params'"),
        (dict(hyperparameters=("threshold",)), "hyperparameters was 'threshold,initial_channels:4:6'"),
        (dict(tuner="bayesian"), "tuner was 'random'"),
    ):
        with pytest.raises(ValueError, match=words):
            tune(patterns, config, workdir, dataclasses.replace(TUNING, **changes))
    with pytest.raises(ValueError, match="seed was '0', now '5'"):
        tune(patterns, dataclasses.replace(config, seed=5), workdir, TUNING)


def test_a_state_that_cannot_be_read_is_named(finished, patterns, config, tmp_path):
    trials = tmp_path / "run" / "trials"
    trials.mkdir(parents=True)
    for text in ("{", "[]", '{"ongoing_trials": {"a": "7"}}'):
        (trials / "oracle.json").write_text(text)
        with pytest.raises(ValueError, match="trials has a file that cannot be read .* another --workdir"):
            tune(patterns, config, tmp_path / "run", TUNING)


def test_settings_that_cannot_be_trained_with_are_a_failed_trial(patterns, config, tmp_path):
    tuning = Tuning(tuner="random", hyperparameters=("weight_learning_rate:1e18:1e19",), trials=1)
    records = tune(patterns, config, tmp_path / "run", tuning)
    assert [record.status for record in records] == ["failed"]
    assert "the loss became" in records[0].reason
    assert "trial_0 failed: supernet_training: the loss" in (tmp_path / "run" / "leaderboard.md").read_text()
    assert not (tmp_path / "run" / "best.flags").exists()


def test_every_trial_keeps_a_budget_or_has_failed(patterns, config, tmp_path):
    tuning = Tuning(tuner="random", objective="test_error", hyperparameters=("budget_penalty",), trials=1)
    asked = dataclasses.replace(config, operation_price=0.0, max_parameters=800)
    (kept,) = tune(patterns, asked, tmp_path / "kept", tuning)
    assert 0.97 * 800 <= kept.stage["params"] <= 800
    assert (
        f"--budget_penalty={kept.values['budget_penalty']}"
        in (tmp_path / "kept" / "trials" / "trial_0" / "run" / "run.flags").read_text().splitlines()
    )
    impossible = dataclasses.replace(asked, max_parameters=1)
    of_spaces = dataclasses.replace(tuning, hyperparameters=("initial_channels:2:6",))
    (failed,) = tune(patterns, impossible, tmp_path / "failed", of_spaces)
    assert failed.status == "failed"
    assert "max_parameters=1 cannot be met: the smallest network" in failed.reason
    with pytest.raises(ValueError, match="max_parameters=1 cannot be met"):  # as all trials have one space
        tune(patterns, impossible, tmp_path / "refused", tuning)


def test_bounds_that_cannot_be_run_cost_nothing(patterns, config, tmp_path):
    with pytest.raises(ValueError, match="too small"):
        tune(patterns, dataclasses.replace(config, stem="imagenet", cells=3), tmp_path / "run", TUNING)
    assert not (tmp_path / "run").exists()


def test_every_objective_wants_less():
    small, large = {"test_error": 2.0, "params": 1000}, {"test_error": 3.0, "params": 4000}
    for objective in OBJECTIVES.values():
        assert objective(small, 0.5) < objective(large, 0.5)
    assert OBJECTIVES["both"](large, 0.5) - OBJECTIVES["both"](small, 0.5) == pytest.approx(1.0 + 2 * 0.5)


def test_hyperband_makes_runs_with_parts_of_the_epochs(patterns, make_config, tmp_path):
    config = make_config(
        supernet_epochs=3, warmup_epochs=2, mask_epochs=3, finetune_epochs=0, evaluate_every=0
    )
    tuning = Tuning(tuner="hyperband", hyperparameters=("threshold",), trials=1)
    (record,) = tune(patterns, config, tmp_path / "run", tuning)
    assert record.budget == pytest.approx(1 / 3)
    stages = results(tmp_path / "run", record.trial)["stages"]
    assert [stages[key]["epochs"] for key in ("supernet", "searched", "finetuned")] == [1, 1, 0]
    lines = (tmp_path / "run" / "best.flags").read_text(encoding="utf-8").splitlines()
    assert "--supernet_epochs=3" in lines
    assert "--warmup_epochs=2" in lines


@pytest.mark.parametrize("name", ["tuner", "objective"])
def test_unknown_names_are_refused(name):
    with pytest.raises(ValueError, match=f"{name}='fast'"):
        Tuning(**{name: "fast"})
