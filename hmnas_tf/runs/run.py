"""What the steps of Algorithm 1 share: data streams, devices, the run folder, and what is shown and recorded."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hmnas_tf.config import Config
from hmnas_tf.console.progress import Say, Spent, silent
from hmnas_tf.data import AUGMENTATIONS, ImageDataset, evaluation_batches, training_batches
from hmnas_tf.derivation.rules import kept_by_masks
from hmnas_tf.networks.supernet import Supernet
from hmnas_tf.runs.board import ArchitectureBoard
from hmnas_tf.runs.preflight import topology_of
from hmnas_tf.runs.tracking import Tracker
from hmnas_tf.settings.paper import STATISTICS_BATCHES
from hmnas_tf.stages import telemetry
from hmnas_tf.stages.architecture_history import ArchitectureHistory
from hmnas_tf.stages.class_weights import CLASS_WEIGHTS
from hmnas_tf.stages.evaluation import Meter
from hmnas_tf.stages.fit import fit
from hmnas_tf.stages.onlookers import Onlookers
from hmnas_tf.stages.stage import Stage
from hmnas_tf.stages.strategy import own_part
from hmnas_tf.storage.run_folder import RunFolder

TITLES = {
    "supernet": "supernet training",
    "searched": "mask search",
    "finetuned": "fine-tuning",
}  # keys of results


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of the algorithm.

    Attributes:
        dataset: images and labels.
        config: all settings.
        folder: where everything is kept.
        strategy: the devices.
        say: shows a line to the user.
        tracker: what copies the folder to MLflow, None if nothing does.
        callbacks: of the user, by the stage that they see.
        spent: seconds since the run was opened in this process.
    """

    dataset: ImageDataset
    config: Config
    folder: RunFolder
    strategy: tf.distribute.Strategy
    say: Say
    tracker: Tracker | None = None
    callbacks: Mapping[str, Sequence[keras.callbacks.Callback]] = dataclasses.field(default_factory=dict)
    spent: Spent = dataclasses.field(default_factory=Spent)

    @property
    def augmentation(self) -> tuple[str, ...]:
        """Names of the augmentations of this run."""
        return self.config.augmentations(self.dataset.augmentation)

    def seed(self, purpose: str) -> int:
        """Returns the seed of one purpose; the same word gives the same seed in every run with the same `--seed`."""
        entropy = [self.config.seed, *purpose.encode()]
        return int(np.random.SeedSequence(entropy).generate_state(1)[0] >> 1)

    def new_supernet(self) -> Supernet:
        """Returns an untrained supernet for this run's settings and data."""
        config = self.config
        with self.building("the supernet"):
            supernet = Supernet(
                topology_of(config),
                self.dataset.num_classes,
                edge_softmax=config.edge_softmax,
                cell_sharing=config.cell_sharing,
                threshold=config.threshold,
                renormalize=config.renormalize,
                recompute=config.recompute,
                width_masks=bool(kept_by_masks(config.budgets, config.derivation)),
            )
            supernet.build((None, *self.dataset.image_shape))
        return supernet

    @contextmanager
    def building(self, what: str) -> Iterator[None]:
        """Says so; variables made inside belong to the strategy and have the run's precision."""
        self.say(f"building {what}")
        with self.strategy.scope(), precision("mixed_bfloat16" if self.config.mixed_precision else "float32"):
            yield

    def batches(
        self,
        purpose: str,
        batch_size: int,
        part: np.ndarray | None = None,
        mixed: bool = False,
    ) -> Callable[[int, int], tf.data.Dataset]:
        """Returns a stream of training batches as a function of its first and its last step.

        Args:
            purpose: names the stream's randomness.
            batch_size: of all replicas together.
            part: indices of the training images to use; None is all.
            mixed: whether images and labels are mixed where the run's augmentation does so.
        """
        data, names = self.dataset, self.augmentation
        mixes = mixed and any(AUGMENTATIONS[name].mixes for name in names)
        settings = dict(
            part=part,
            batch_size=batch_size,
            seed=self.seed(purpose),
            augmentation=names,
            mean=data.mean,
            std=data.std,
            size=data.image_shape[:2],
            mixed_classes=data.num_classes if mixes else 0,
            own=None if mixes else self._own_part(batch_size),
        )
        return lambda start, total: training_batches(
            data.x_train, data.y_train, start_step=start, total_steps=total, **settings
        )

    def largest_batch(self, examples: int) -> int:
        """Returns `--batch_size`, or what so few examples give every replica in equal parts."""
        replicas = self.strategy.num_replicas_in_sync
        return min(self.config.batch_size, examples // replicas * replicas)

    def _own_part(self, batch_size: int) -> np.ndarray | None:
        """Returns which images of a batch are to be read: of those on disk only what this worker computes on."""
        return own_part(self.strategy, batch_size) if self.dataset.on_disk else None

    def meter(self, network: keras.Model) -> Meter:
        """Returns what measures the test error of a network and re-estimates its batch statistics.

        Statistics are those of images augmented as in training. Weights are trained behind these, the dark borders of
        shifted images included; with those of plain images a network has several points more error.
        """
        data = self.dataset
        batch_size = self.largest_batch(len(data.x_train))
        steps = min(STATISTICS_BATCHES, len(data.x_train) // batch_size)
        statistics = self.batches("statistics", batch_size, mixed=True)(0, steps)
        size = self.config.batch_size
        test = evaluation_batches(
            data.x_test, data.y_test, batch_size=size, mean=data.mean, std=data.std, own=self._own_part(size)
        )
        with self.strategy.scope():
            return Meter(network, test, statistics, data.num_classes, self.say)

    def fit(
        self,
        key: str,
        stage: Stage,
        batches: Callable[[int], tf.data.Dataset],
        *,
        epochs: int,
        steps_per_epoch: int,
        meter: Meter,
        observers: Sequence[keras.callbacks.Callback] = (),
        searched: Supernet | None = None,
    ) -> int:
        """Trains a stage with this run's telemetry, checkpoints, label smoothing and weights of classes.

        Args:
            key: of the stage in `results.json`.
            stage: compiled.
            batches: returns the dataset from a given step on to the last.
            epochs: of the whole stage.
            steps_per_epoch: batches an epoch.
            meter: of the test error.
            observers: further callbacks; what they add to the logs is recorded.
            searched: whose architecture changes in this stage; its history is kept.

        Returns:
            The number of epochs that it was trained, which may have ended before the last.
        """

        def measure() -> float:
            with stage.measured():
                error, loss = meter.error_and_loss()
                epoch, rest = divmod(int(stage.optimizer.iterations.numpy()), steps_per_epoch)
                if not rest:  # not of an epoch that a signal stopped
                    stage.see(epoch, error, loss)
            return error

        stage.label_smoothing = self.config.label_smoothing
        stage.class_weights = CLASS_WEIGHTS[self.config.class_weights](self.dataset.class_counts("train"))
        title, terminal, board = TITLES[key], sys.stdout.isatty(), self.folder.tensorboard / key
        history, say_steps = self.folder.architecture, silent if terminal else self.say
        # The progress bar stands first, so that it shows what the stage measures and not what others add to the logs.
        callbacks = [
            *([keras.callbacks.ProgbarLogger()] if terminal else []),
            telemetry.TestError(measure, self.config.evaluate_every),
            *observers,
            telemetry.EpochTelemetry(
                title, epochs, steps_per_epoch, self.folder.metrics, self.say, say_steps
            ),
            keras.callbacks.TensorBoard(str(board), write_graph=False),
        ]
        if searched is not None:
            callbacks += [
                ArchitectureHistory(searched, title, steps_per_epoch, history),
                ArchitectureBoard(searched, title, epochs, history, board / "architecture"),
            ]
        if self.tracker:
            callbacks.append(keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: self.tracker.log()))
        if shown_to := self.callbacks.get(key):
            callbacks.append(Onlookers(shown_to, epochs, steps_per_epoch))
        self.say(f"{title}: the first step builds a graph, which may take some tens of seconds")
        with self.spent.on("in the epochs"):
            fit(
                stage,
                batches,
                epochs=epochs,
                steps_per_epoch=steps_per_epoch,
                directory=self.folder.checkpoints(key),
                checkpoint_steps=self.config.checkpoint_steps,
                callbacks=callbacks,
                verbose=1 if terminal else 0,
            )
        return int(stage.optimizer.iterations.numpy()) // steps_per_epoch

    def warn(self, lines: Iterable[str]) -> None:
        """Shows warnings to the user, one line each."""
        for line in lines:
            self.say(f"Warning: {line}")

    def done(self, key: str) -> bool:
        """Returns whether a stage is finished."""
        return key in self.folder.results["stages"]

    def record(self, key: str, epochs: int, **entries: Any) -> None:
        """Adds a finished stage to `results.json` with the seconds of all its epochs."""
        rows = telemetry.read_rows(self.folder.metrics)
        seconds = sum(float(row["seconds"]) for row in rows if row["stage"] == TITLES[key])
        entry = entries | {"epochs": epochs, "seconds": round(seconds, 1)}
        self.folder.update(stages=self.folder.results["stages"] | {key: entry})
        if self.tracker:
            self.tracker.log(files=True)
        self.say(f"{TITLES[key]}: test error {entry['test_error']:.2f} %, {entry['params']:,} parameters")


@contextmanager
def precision(policy: str) -> Iterator[None]:
    """Layers made inside have this dtype policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
