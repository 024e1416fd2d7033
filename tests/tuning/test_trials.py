"""Every tuner goes on after a kill with the trials of one that never stopped; runs are stood in for by a formula."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest

from hmnas_tf.stages.fit import DivergedError
from hmnas_tf.storage import atomic
from hmnas_tf.tuning.trials import EPOCHS, TUNERS, Tuner, make_oracle, metric, role
from hmnas_tf.tuning.tuning_space import Interval

SPACE = {"threshold": Interval(0.001, 0.009), "initial_channels": Interval(4, 16)}
TRIALS = 6


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def loss(trial) -> float:
    values = trial.hyperparameters.values
    return abs(values["threshold"] - 0.004) + 0.0001 * values["initial_channels"]


def tuner_in(folder: Path, kind: str, run=None, seed: int = 0, trials: int = TRIALS) -> Tuner:
    oracle = make_oracle(kind, SPACE, trials=trials, epochs=9, seed=seed)
    oracle.publish = lambda trials: None
    return Tuner(oracle, folder, run or (lambda trial, place: {"score": loss(trial), "seconds": 1.0}))


def proposals(tuner: Tuner) -> list[tuple]:
    found = []
    for name, trial in tuner.oracle.trials.items():
        assert trial.status == "COMPLETED"
        found.append((name, dict(trial.hyperparameters.values), trial.score))
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Returns the trials of a tuner that was never stopped."""

    @functools.cache
    def run(kind: str, seed: int = 0) -> list[tuple]:
        tuner = tuner_in(tmp_path_factory.mktemp(kind) / "whole", kind, seed=seed)
        tuner.run_all()
        return proposals(tuner)

    return run


@pytest.mark.parametrize("kind", TUNERS)
@pytest.mark.parametrize("writes", [0, 1, 2, 3, 5, 8])
def test_killed_at_a_write_it_makes_the_same_trials(kind, writes, whole, tmp_path, monkeypatch):
    """It is killed at the write with this number, again and again, until it is through."""
    write, left = atomic.write_text, [0]

    def killing(path, text):
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        write(path, text)

    monkeypatch.setattr(atomic, "write_text", killing)
    kills = 0
    while True:
        left[0] = writes if kills < 12 else 10**6
        tuner = tuner_in(tmp_path / "killed", kind)
        try:
            tuner.run_all()
            break
        except Killed:
            kills += 1
    assert kills >= 3
    left[0] = 10**6
    assert proposals(tuner) == whole(kind)


@pytest.mark.parametrize("kind", TUNERS)
def test_killed_within_a_trial_it_gets_the_same_one_again(kind, whole, tmp_path):
    seen = []

    def dying(trial, folder):
        seen.append((trial.trial_id, dict(trial.hyperparameters.values)))
        if seen.count(seen[-1]) == 1:
            raise Killed
        return {"score": loss(trial), "seconds": 1.0}

    while True:
        tuner = tuner_in(tmp_path / "killed", kind, dying)
        try:
            tuner.run_all()
            break
        except Killed:
            pass
    assert seen[::2] == seen[1::2]
    assert proposals(tuner) == whole(kind)


@pytest.mark.parametrize("kind", TUNERS)
def test_a_seed_decides(kind, whole, tmp_path):
    again = tuner_in(tmp_path / "again", kind)
    again.run_all()
    assert proposals(again) == whole(kind)
    assert whole(kind, seed=1) != whole(kind)


@pytest.mark.parametrize("kind", TUNERS)
def test_values_lie_in_their_intervals(kind, whole):
    for _, values, _ in whole(kind):
        assert 0.001 <= values["threshold"] <= 0.009
        assert values["initial_channels"] in range(4, 17, 2)


def test_more_trials_can_be_asked_for(whole, tmp_path):
    tuner_in(tmp_path / "one", "bayesian", trials=3).run_all()
    longer = tuner_in(tmp_path / "one", "bayesian", trials=TRIALS)
    longer.run_all()
    assert proposals(longer) == whole("bayesian")


def test_bayesian_does_better_than_it_began(tmp_path):
    tuner = tuner_in(tmp_path / "run", "bayesian", trials=12)
    tuner.run_all()
    scores = [score for _, _, score in proposals(tuner)]
    assert min(scores[3:]) < min(scores[:3])


def test_hyperband_gives_more_epochs_to_the_better(tmp_path):
    tuner = tuner_in(tmp_path / "run", "hyperband", trials=0)
    tuner.run_all()
    trials = tuner.oracle.trials
    epochs = {name: trial.hyperparameters.values[EPOCHS] for name, trial in trials.items()}
    assert set(epochs.values()) == {1, 3, 9}
    first = [name for name in trials if "tuner/trial_id" not in trials[name].hyperparameters.values]
    for trial in trials.values():
        parent = trial.hyperparameters.values.get("tuner/trial_id")
        if parent:
            assert epochs[parent] * 3 == epochs[trial.trial_id]
            same_round = [name for name in first if epochs[name] == epochs[parent]]
            assert not same_round or trials[parent].score < max(trials[name].score for name in same_round)


def test_a_trial_that_diverges_fails_alone(tmp_path):
    def diverging(trial, folder):
        if trial.trial_id == "1":
            raise DivergedError("the loss became nan")
        return {"score": loss(trial), "seconds": 2.0}

    tuner = tuner_in(tmp_path / "run", "random", diverging)
    tuner.run_all()
    trials = tuner.oracle.trials
    assert [trial.status for trial in trials.values()].count("COMPLETED") == TRIALS - 1
    assert trials["1"].status == "FAILED"
    assert trials["1"].message.strip().endswith("the loss became nan")
    assert metric(trials["0"], "seconds") == 2.0


def test_anything_else_ends_the_tuning_as_it_is(tmp_path):
    def failing(trial, folder):
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space left"):
        tuner_in(tmp_path / "run", "random", failing).run_all()


def test_all_failing_is_no_endless_loop(tmp_path):
    def diverging(trial, folder):
        raise DivergedError("the loss became nan")

    for kind in TUNERS:
        tuner = tuner_in(tmp_path / kind, kind, diverging)
        tuner.run_all()
        assert {trial.status for trial in tuner.oracle.trials.values()} == {"FAILED"}


def test_files_appear_whole(tmp_path, monkeypatch):
    """KerasTuner's own writing in place is never reached."""
    from keras_tuner.src import utils

    def in_place(path, obj):
        raise AssertionError(path)

    monkeypatch.setattr(utils, "save_json", in_place)
    tuner_in(tmp_path / "run", "random").run_all()
    names = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert names == ["oracle.json", *(f"trial_{n}" for n in range(TRIALS))]
    assert json.loads((tmp_path / "run" / "oracle.json").read_text())["end_order"] == list("012345")


def test_roles(monkeypatch):
    for name in ("KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT", "KERASTUNER_TUNER_ID"):
        monkeypatch.delenv(name, raising=False)
    assert role() == "alone"
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    with pytest.raises(ValueError, match="KERASTUNER_ORACLE_PORT is not"):
        role()
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", "8000")
    with pytest.raises(ValueError, match="KERASTUNER_TUNER_ID is not"):
        role()
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "chief")
    assert role() == "chief"
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "tuner0")
    assert role() == "worker"
