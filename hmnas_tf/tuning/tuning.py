"""Tunes the settings of a search with KerasTuner: every trial is a whole run in a folder of its own."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from keras_tuner.engine.trial import Trial

from hmnas_tf.algorithm import search
from hmnas_tf.config import Config
from hmnas_tf.console.paths import path_of
from hmnas_tf.console.progress import Say, silent
from hmnas_tf.data import ImageDataset
from hmnas_tf.runs.preflight import check
from hmnas_tf.runs.tracking import begin_part, tracked
from hmnas_tf.stages.strategy import require_one_worker
from hmnas_tf.storage import atomic
from hmnas_tf.storage.possession import held
from hmnas_tf.storage.run_folder import RunFolder, flag_lines, refuse_other_flags, write_flags
from hmnas_tf.tuning.goal import OBJECTIVES, Tuning
from hmnas_tf.tuning.leaderboard import SIZES, Record, csv_text, markdown, ranked
from hmnas_tf.tuning.trials import EPOCHS, STATUSES, Tuner, make_oracle, metric, role
from hmnas_tf.tuning.tuning_space import Interval, space

METRICS = ("test_error", *SIZES)  # what a trial reports, besides its score and its seconds


def tune(
    dataset: ImageDataset,
    config: Config,
    workdir: str | Path,
    tuning: Tuning,
    say: Say = silent,
) -> list[Record]:
    """Searches with many settings; writes `leaderboard.md`, `leaderboard.csv` and `best.flags` after every trial.

    Each trial is a run of `search` in `trials/trial_N/run`, which exports `.keras` files only. Called again it goes on
    where it stopped, within a trial too. Where KerasTuner's environment variables name a chief, it hands trials to the
    workers; all of them call this with one folder.

    Args:
        dataset: images and labels; trials are compared on its test images.
        config: what all trials have in common.
        workdir: folder of everything.
        tuning: how.
        say: shows a line of progress.

    Returns:
        A record a trial, best first; [] on a worker.

    Raises:
        ValueError: if a setting is wrong, or the folder belongs to another tuning or is in use.
        RuntimeError: if a worker cannot reach the chief.
        OSError: if the folder cannot be written.
    """
    require_one_worker()
    plan = _Plan(
        dataset, config, path_of(workdir, "workdir"), tuning, space(tuning.hyperparameters, config), say
    )
    plan.check()
    if role() == "worker":
        plan.engine().run_all()
        return []
    with held(plan.workdir):
        flags, lines = plan.workdir / "tune.flags", flag_lines(config, plan.workdir) + tuning.flag_lines()
        for run in sorted((plan.workdir / "trials").glob("*/run")):
            RunFolder(run).refuse_other_data(dataset.describe())
        refuse_other_flags(flags, lines, moved=True)
        write_flags(flags, lines)
        with tracked(plan.workdir, config.mlflow, say):
            engine = plan.engine()
            if role() == "chief":
                say("This is the chief: it waits for workers and gives them trials.")
            engine.run_all()
        return plan.conclude(list(engine.oracle.trials.values()))


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What is tuned, and what becomes of a trial."""

    dataset: ImageDataset
    config: Config
    workdir: Path
    tuning: Tuning
    space: Mapping[str, Interval]
    say: Say

    def check(self) -> None:
        """Refuses a tuning whose smallest or largest settings could not be run."""
        for bound in (0, 1):
            check(
                self.settings({name: interval[bound] for name, interval in self.space.items()}), self.dataset
            )

    def engine(self) -> Tuner:
        """Returns what makes the trials, as far as they are in the folder."""
        oracle = make_oracle(
            self.tuning.tuner,
            self.space,
            trials=self.tuning.most,
            epochs=self.config.supernet_epochs,
            seed=self.config.seed,
        )
        oracle.publish = self.publish
        directory = self.workdir / "trials"
        try:
            return Tuner(oracle, directory, self.run)
        except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise ValueError(
                f"{directory} has a file that cannot be read ({type(error).__name__}: {error}): restore it, or take "
                "another --workdir."
            ) from error

    def settings(self, values: Mapping[str, float], budget: float = 1.0) -> Config:
        """Returns the settings of a trial; `budget` is the share of all stages' epochs that Hyperband gives it."""
        config = self.config
        supernet = max(1, round(budget * config.supernet_epochs))
        finetune = max(min(1, config.finetune_epochs), round(budget * config.finetune_epochs))
        return dataclasses.replace(
            config,
            **{name: values[name] for name in self.space},
            supernet_epochs=supernet,
            warmup_epochs=min(round(budget * config.warmup_epochs), supernet - 1),
            mask_epochs=max(1, round(budget * config.mask_epochs)),
            finetune_epochs=finetune,
            finetune_warmup_epochs=min(round(budget * config.finetune_warmup_epochs), max(0, finetune - 1)),
            formats=("keras",),
            quantize=("none",),
        )

    def run(self, trial: Trial, folder: Path) -> dict[str, float]:
        """Searches with a trial's settings and returns its metrics."""
        record = self.record(trial)
        of = f" of {self.tuning.most}" if self.tuning.most else ""
        values = ", ".join(f"{name}={value:.4g}" for name, value in record.values.items())
        part = f" ({100 * record.budget:.0f} % of the epochs)" if record.budget < 1 else ""
        self.say(f"trial {trial.trial_id}{of}{part}: {values}")
        begin_part(folder, self.workdir, self.config.mlflow, record.trial)
        stages = search(self.dataset, self.settings(record.values, record.budget), folder, self.say).results[
            "stages"
        ]
        stage = stages["finetuned"]
        score = OBJECTIVES[self.tuning.objective](stage, self.tuning.halving_worth)
        self.say(f"trial {trial.trial_id}: score {score:.4g}")
        seconds = sum(each["seconds"] for each in stages.values())
        return {"score": score, "seconds": seconds} | {name: float(stage[name]) for name in METRICS}

    def record(self, trial: Trial) -> Record:
        """Returns what is known of a trial."""
        values = trial.hyperparameters.values
        epochs = values.get(EPOCHS, self.config.supernet_epochs)
        status = STATUSES.get(trial.status, "running")
        done = status == "completed"
        return Record(
            trial=f"trial_{trial.trial_id}",
            status=status,
            score=trial.score if done else math.nan,
            values={name: values[name] for name in self.space},
            stage={
                name: metric(trial, name) if name == "test_error" else int(metric(trial, name))
                for name in METRICS
            }
            if done
            else {},
            seconds=metric(trial, "seconds") if done else 0.0,
            budget=epochs / self.config.supernet_epochs,
            reason=(trial.message or "").strip().splitlines()[-1].partition(": ")[2] if trial.message else "",
        )

    def publish(self, trials: Sequence[Trial]) -> None:
        """Writes the leaderboard and the best settings."""
        records = [self.record(trial) for trial in trials]
        atomic.write_text(self.workdir / "leaderboard.csv", csv_text(records))
        atomic.write_text(self.workdir / "leaderboard.md", self.table(records))
        best = self.best(records)
        if best:
            # Without images held out there is no epoch to choose by; see `contradictions`.
            all_images = dict(holdout=0.0, keep="last", patience=0)
            settings = dataclasses.replace(self.config, **best.values, **all_images)
            write_flags(self.workdir / "best.flags", flag_lines(settings, self.workdir / "best"))

    def best(self, records: Sequence[Record]) -> Record | None:
        """Returns the completed trial with the least score, among those with most epochs."""
        most = max((record.budget for record in records if record.completed), default=0)
        return next((r for r in ranked(records) if r.completed and r.budget == most), None)

    def table(self, records: Sequence[Record]) -> str:
        """Returns the leaderboard in Markdown."""
        images = "held-out training" if self.config.holdout else "test"
        return markdown(
            records, error=f"error on {images} images %", score=f"score ({self.tuning.objective})"
        )

    def conclude(self, trials: Sequence[Trial]) -> list[Record]:
        """Shows the leaderboard and what to do with it; returns the records, best first."""
        records = [self.record(trial) for trial in trials]
        self.say(self.table(records))
        if self.best(records):
            self.say(
                f"The best settings, on all training images and measured on the test images: "
                f"python -m hmnas_tf.search --flagfile={self.workdir / 'best.flags'}"
            )
        return ranked(records)
