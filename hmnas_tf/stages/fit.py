"""Trains a stage so that it can be killed at any instant and goes on where it was."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from hmnas_tf.stages.stage import Stage
from hmnas_tf.stages.strategy import several_workers

TERMINATED = 128 + signal.SIGTERM  # exit code of a process that SIGTERM ended


class DivergedError(RuntimeError):
    """A loss or a weight is infinite or not a number: these settings cannot be trained with."""


def fit(
    stage: Stage,
    batches: Callable[[int], tf.data.Dataset],
    *,
    epochs: int,
    steps_per_epoch: int,
    directory: Path,
    checkpoint_steps: int,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int = 0,
) -> None:
    """Trains a stage to its last epoch, from the newest checkpoint in `directory` if there is one.

    A resumed run is the uninterrupted one, because a batch and everything random is a function of the step's number.
    On SIGTERM it saves a checkpoint, unless it is one of several workers, and raises SystemExit with code 143.

    Args:
        stage: compiled, all its optimizers built.
        batches: returns the dataset from a given step on to the last.
        epochs: of the whole stage.
        steps_per_epoch: batches an epoch.
        directory: of this stage's checkpoints.
        checkpoint_steps: steps between two checkpoints within an epoch; its end always has one.
        callbacks: called before an epoch's checkpoint is written, so a log row may come twice, but is never lost.
        verbose: of Keras' `fit`.

    Raises:
        DivergedError: if the loss becomes infinite or not a number; the checkpoints still hold finite values.
    """
    checkpoints = Checkpoints(stage, directory, steps_per_epoch, checkpoint_steps)
    epoch, done = divmod(checkpoints.step(), steps_per_epoch)
    settings = dict(verbose=verbose, shuffle=False, callbacks=[*callbacks, checkpoints])
    try:
        if epoch < epochs:
            dataset = batches(checkpoints.step())
            if done:
                rest = steps_per_epoch - done
                stage.fit(dataset.take(rest), initial_epoch=epoch, epochs=epoch + 1, **settings)
                dataset, epoch = dataset.skip(rest), epoch + 1
            if epoch < epochs and not checkpoints.terminated:
                stage.fit(
                    dataset, initial_epoch=epoch, epochs=epochs, steps_per_epoch=steps_per_epoch, **settings
                )
    finally:
        checkpoints.on_train_end()  # which Keras leaves out after an exception
    if checkpoints.terminated:
        raise SystemExit(TERMINATED)


class Checkpoints(keras.callbacks.Callback):
    """Keeps the last two states of a stage: every variable of model, optimizers and metrics, listed one by one.

    Keras' and TensorFlow's own ways to find variables miss some, such as statistics of layers held in lists.
    """

    def __init__(self, stage: Stage, directory: Path, steps_per_epoch: int, every: int):
        super().__init__()
        self.stage = stage
        self.steps_per_epoch = steps_per_epoch
        self.every = every
        self.terminated = False
        self._handler: Any = None
        for left_by_kill in Path(directory).glob("*_temp"):
            shutil.rmtree(left_by_kill, ignore_errors=True)
        variables = [*stage.variables]
        for owner in (*stage.optimizers, *stage.metrics):
            variables += owner.variables
        self._checkpoint = tf.train.Checkpoint(state=[variable.value for variable in variables])
        self._manager = tf.train.CheckpointManager(self._checkpoint, str(directory), max_to_keep=2)
        self._restore()
        self._step = int(stage.optimizer.iterations.numpy())
        self._restore_metrics = self._step % steps_per_epoch != 0

    def _restore(self) -> None:
        newest = self._manager.latest_checkpoint
        if not newest:
            return
        try:
            # TensorFlow finds this out too, but logs a line for each variable.
            held = tf.train.load_checkpoint(newest).get_variable_to_shape_map()
            state = enumerate(self._checkpoint.state)
            shapes = {f"state/{i}/.ATTRIBUTES/VARIABLE_VALUE": value.shape for i, value in state}
            if shapes != {name: shape for name, shape in held.items() if name.startswith("state/")}:
                raise ValueError("other variables")
            self._checkpoint.restore(newest).assert_consumed()
        except Exception as error:  # of many kinds, by where a file is damaged and how others differ
            raise ValueError(
                f"checkpoint {newest} cannot be read ({type(error).__name__}): it is damaged or of another version; "
                f"remove {self._manager.directory} to begin this stage again."
            ) from error

    def step(self) -> int:
        """Returns how many steps the stage has made."""
        return self._step

    def _save(self) -> None:
        self._require_finite()
        if not (self._manager.latest_checkpoint or "").endswith(f"ckpt-{self._step}"):
            self._manager.save(checkpoint_number=self._step)

    def _require_finite(self) -> None:
        loss = float(self.stage.loss_mean.result())
        trained = (variable.value for variable in self.stage.trainable_variables)
        if not abs(loss) < float("inf") or not all(
            bool(tf.reduce_all(tf.math.is_finite(v))) for v in trained
        ):
            raise DivergedError(
                f"{self.stage.name}: the loss became {loss} at or before step {self._step}, or a weight is not finite; "
                "the newest checkpoint is from before. Lower the learning rate or the gradient clip and start again in "
                "a new workdir."
            )

    def on_train_begin(self, logs=None):
        self._handler = signal.getsignal(signal.SIGTERM)
        try:
            signal.signal(signal.SIGTERM, lambda *_: setattr(self, "terminated", True))
        except ValueError:  # not in the main thread, where nobody can send us one
            self._handler = None

    def on_train_end(self, logs=None):
        if self._handler is not None:
            signal.signal(signal.SIGTERM, self._handler)
            self._handler = None

    def on_epoch_begin(self, epoch, logs=None):
        if self._restore_metrics:  # `fit` has just set them to 0
            self._restore()
            self._restore_metrics = False

    def on_train_batch_end(self, batch, logs=None):
        # The others may be at another step, and a checkpoint needs all.
        if self.terminated and several_workers():
            raise SystemExit(TERMINATED)
        self._step += 1  # counted here, because reading the optimizer's counter would wait for the device
        if self._step % self.steps_per_epoch and (self.terminated or self._step % self.every == 0):
            self._save()
        if self.terminated:
            self.stage.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        if self._step % self.steps_per_epoch == 0:
            self._save()
