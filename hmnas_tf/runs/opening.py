"""The run in a folder, new or to be continued, which one process may write into."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import MappingProxyType

import keras
import tensorflow as tf

from hmnas_tf.config import Config
from hmnas_tf.console.paths import path_of, refuse_within
from hmnas_tf.console.progress import Say, silent
from hmnas_tf.data import ImageDataset
from hmnas_tf.runs.manifest import git_commit, machine, versions
from hmnas_tf.runs.preflight import require_multiples
from hmnas_tf.runs.run import Run
from hmnas_tf.runs.tracking import Tracker
from hmnas_tf.stages import telemetry
from hmnas_tf.stages.architecture_history import read_history
from hmnas_tf.stages.strategy import make_strategy, wait_for_all, worker
from hmnas_tf.storage.possession import copied, held
from hmnas_tf.storage.run_folder import RunFolder


@contextmanager
def opened(
    dataset: ImageDataset,
    config: Config,
    workdir: str | Path,
    say: Say,
    callbacks: Mapping[str, Sequence[keras.callbacks.Callback]] = MappingProxyType({}),
) -> Iterator[Run]:
    """Yields the run in a folder, new or to be continued, which until the end no other process may write into.

    Workers other than the chief have a copy of the folder, show nothing and log nothing to MLflow.

    Args:
        dataset: images and labels.
        config: all settings.
        workdir: run folder.
        say: shows a line to the user.
        callbacks: of the user, by the stage that they see.

    Raises:
        ValueError: if there are too few devices, they cannot share a batch equally, or the folder belongs to another
            run or is in use.
        OSError: if the folder cannot be written.
    """
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    strategy, number, place = make_strategy(config.replicas), worker(), path_of(workdir, "workdir")
    require_multiples(config, strategy.num_replicas_in_sync)
    refuse_within(dataset.name, place)
    with copied(place, number) if number else held(place) as path:
        folder = RunFolder(path, config, dataset.describe())
        tracker = Tracker(path, config.mlflow, say) if config.mlflow and not number else None
        run = Run(dataset, config, folder, strategy, silent if number else say, tracker, callbacks)
        wait_for_all(strategy)  # until then the chief has changed nothing that others copy
        if not run.folder.finished():
            telemetry.read_rows(run.folder.metrics)  # whatever epochs are added to, before one costs anything
            read_history(run.folder.architecture)
            run.folder.update(
                dataset=dataset.describe(),
                versions=versions(),
                seed=config.seed,
                machine=machine(strategy),
                git_commit=git_commit(),
            )
        with tracker.running() if tracker else nullcontext():
            yield run
        wait_for_all(strategy)  # for the chief, to whom a worker that ends is one that has crashed
