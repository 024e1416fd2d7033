"""KerasTuner's side of a tuning: who proposes trials, who runs them, and files that survive a kill."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import keras_tuner as kt
import numpy as np
from keras_tuner import errors
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial

from hmnas_tf.runs.budgeting import InfeasibleError
from hmnas_tf.stages.fit import DivergedError
from hmnas_tf.storage import atomic
from hmnas_tf.tuning.tuning_space import CHANGES_SPACE, HYPERPARAMETERS, Interval

FACTOR = 3  # Hyperband's: one trial in three goes on, with three times the epochs
EPOCHS = "tuner/epochs"  # Hyperband's word for how many epochs a trial has
STATUSES = {"COMPLETED": "completed", "FAILED": "failed"}  # others are still running
_ADDRESS = ("KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT", "KERASTUNER_TUNER_ID")


class Oracle:
    """What is added to KerasTuner's oracles: files that appear whole or not at all, and an exact continuation.

    Attributes:
        publish: is called with all trials whenever one begins or ends.
    """

    publish: Callable[[Sequence[Trial]], None]

    def save(self) -> None:
        """Writes the state, atomically; KerasTuner writes in place."""
        atomic.write_json(self._get_oracle_fname(), self.get_state())
        self.publish(list(self.trials.values()))

    def _save_trial(self, trial: Trial) -> None:
        atomic.write_json(Path(self._get_trial_dir(trial.trial_id)) / "trial.json", trial.get_state())

    def reload(self) -> None:
        """Reads the state and all trials, in the order in which they began."""
        super().reload()
        # One that was killed between its own file and the oracle's is not known yet: it is proposed again, the same.
        self.trials = {name: self.trials[name] for name in self.start_order}
        for name in self._retry_queue:  # one that had reported, but not ended, reports again
            self.trials[name].metrics = type(self.trials[name].metrics)()


class _Bayesian(Oracle, kt.oracles.BayesianOptimizationOracle):
    def populate_space(self, trial_id: str) -> dict[str, Any]:
        # KerasTuner does not save this state, so it must follow from the number of the trial.
        self._random_state = np.random.RandomState([self.seed, len(self.trials)])
        return super().populate_space(trial_id)


class _Hyperband(Oracle, kt.oracles.HyperbandOracle):
    pass


class _Random(Oracle, kt.oracles.RandomSearchOracle):
    pass


TUNERS = {  # each makes an oracle of what all have in common, the number of hyperparameters and a search's epochs
    # DECISION: as many random trials as hyperparameters. KerasTuner's default, three times as many, chooses too few.
    "bayesian": lambda common, size, epochs: _Bayesian(num_initial_points=max(3, size), **common),
    "hyperband": lambda common, size, epochs: _Hyperband(max_epochs=epochs, factor=FACTOR, **common),
    "random": lambda common, size, epochs: _Random(**common),
}


def make_oracle(
    tuner: str, space: Mapping[str, Interval], *, trials: int, epochs: int, seed: int
) -> kt.engine.oracle.Oracle:
    """Returns what proposes trials that minimise the metric `score`.

    Args:
        tuner: name in `TUNERS`.
        space: the hyperparameters.
        trials: at most; 0 is no limit.
        epochs: of a whole search, which Hyperband gives parts of.
        seed: of every choice.
    """
    common = dict(
        objective=kt.Objective("score", "min"),
        hyperparameters=_declared(space),
        seed=seed + 1,  # to KerasTuner 0 is none
        max_consecutive_failed_trials=10**6,  # a failed trial is a result
    )
    oracle = TUNERS[tuner](common, len(space), epochs)
    oracle.max_trials = trials or None
    return oracle


def _declared(space: Mapping[str, Interval]) -> kt.HyperParameters:
    declared = kt.HyperParameters()
    for name, interval in space.items():
        sampling, step = "log" if interval.log else "linear", HYPERPARAMETERS[name].step
        if step:
            declared.Int(name, int(interval.low), int(interval.high), step=step)
        else:
            declared.Float(name, interval.low, interval.high, sampling=sampling)
    return declared


class Tuner(BaseTuner):
    """Makes a run for each trial. One state file: a tuner has no state besides its oracle's.

    Args:
        oracle: proposes trials.
        directory: of its file and of a folder for each trial.
        run: makes the run of a trial in a folder and returns its metrics.
    """

    def __init__(
        self,
        oracle: kt.engine.oracle.Oracle,
        directory: Path,
        run: Callable[[Trial, Path], Mapping[str, float]],
    ):
        self.run = run
        with contextlib.redirect_stdout(io.StringIO()):  # it prints that it reloads
            super().__init__(oracle, directory=str(directory.parent), project_name=directory.name)

    def run_trial(self, trial: Trial, **_: Any) -> dict[str, float]:
        """Makes the run of a trial.

        Raises:
            FailedTrialError: if its settings cannot be trained with, or keep no budget; the next trial follows.
            FatalError: if the next trial would fail, too.
        """
        try:
            return dict(self.run(trial, Path(self.get_trial_dir(trial.trial_id)) / "run"))
        except (DivergedError, InfeasibleError) as error:
            if type(error) is InfeasibleError and not CHANGES_SPACE & set(trial.hyperparameters.values):
                raise errors.FatalError from error
            raise errors.FailedTrialError(str(error)) from error
        except Exception as error:
            raise errors.FatalError from error

    def run_all(self) -> None:
        """Runs trials until there are no more; the chief of several tuners hands them out.

        Raises:
            RuntimeError: if the chief cannot be reached.
            Exception: what a run raised, unless it diverged.
        """
        try:
            self.search(verbose=0)
        except errors.FatalError as error:
            raise error.__cause__ or error from None
        except grpc.RpcError as error:
            raise RuntimeError(
                f"the chief at {os.environ[_ADDRESS[0]]}:{os.environ[_ADDRESS[1]]} does not answer ({error.code()}): "
                "start it, and this command again."
            ) from error

    def _get_tuner_fname(self) -> str:
        return str(Path(self.project_dir) / "oracle.json")

    def save(self) -> None:
        if not self._is_worker():
            self.oracle.save()

    def reload(self) -> None:
        if not self._is_worker():
            self.oracle.reload()


def role() -> str:
    """Returns what this process is, by KerasTuner's own environment variables: `alone`, `chief` or `worker`.

    Raises:
        ValueError: if one of them is missing.
    """
    if not os.environ.get(_ADDRESS[0]):
        return "alone"
    missing = [name for name in _ADDRESS if not os.environ.get(name)]
    if missing:
        raise ValueError(
            f"{_ADDRESS[0]} is set but {missing[0]} is not: several tuners need all of {', '.join(_ADDRESS)}, the last "
            "of them `chief` for one and another name for each other."
        )
    return "chief" if "chief" in os.environ[_ADDRESS[2]] else "worker"


def metric(trial: Trial, name: str) -> float:
    """Returns what a completed trial reported."""
    return trial.metrics.get_best_value(name)
