"""Trains a stage so that it can be killed at any instant and goes on where it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from hmnas_tf.console.interruptions import handled_by, stop
from hmnas_tf.stages.stage import Stage
from hmnas_tf.stages.strategy import several_workers
from hmnas_tf.storage import atomic
from hmnas_tf.storage.plain_names import plainly


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
    """Trains a stage to its last epoch, or until it `has_ended`, from the newest checkpoint in `directory` if any.

    A resumed run is the uninterrupted one, because a batch and everything random is a function of the step's number.
    On Ctrl-C, SIGTERM and SIGHUP it saves a checkpoint, unless it is one of several workers, and raises
    KeyboardInterrupt, or SystemExit with code 143 or 129. Until then more of them change nothing.

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
    directory.mkdir(parents=True, exist_ok=True)
    with plainly(directory) as place:
        checkpoints = Checkpoints(stage, directory, place, steps_per_epoch, checkpoint_steps)
        epoch, done = divmod(checkpoints.step(), steps_per_epoch)
        settings = dict(verbose=verbose, shuffle=False)
        settings["callbacks"] = [checkpoints.notice(), *callbacks, checkpoints]
        with handled_by(checkpoints.ask):
            if epoch < epochs and not stage.has_ended:
                dataset = batches(checkpoints.step())
                if done:
                    rest = steps_per_epoch - done
                    stage.fit(dataset.take(rest), initial_epoch=epoch, epochs=epoch + 1, **settings)
                    dataset, epoch = dataset.skip(rest), epoch + 1
                if epoch < epochs and not checkpoints.asked and not stage.has_ended:
                    stage.fit(
                        dataset,
                        initial_epoch=epoch,
                        epochs=epochs,
                        steps_per_epoch=steps_per_epoch,
                        **settings,
                    )
    if checkpoints.asked:
        stop(checkpoints.asked)


class Checkpoints(keras.callbacks.Callback):
    """Keeps the last two states of a stage: every variable of model, optimizers and metrics, listed one by one.

    Keras' and TensorFlow's own ways to find variables miss some, such as statistics of layers held in lists.

    Args:
        stage: compiled.
        directory: of the checkpoints.
        place: the same, as TensorFlow takes it.
        steps_per_epoch: batches an epoch.
        every: steps between two checkpoints within an epoch.
    """

    def __init__(self, stage: Stage, directory: Path, place: Path, steps_per_epoch: int, every: int):
        super().__init__()
        self.stage = stage
        self.directory = directory
        self.steps_per_epoch = steps_per_epoch
        self.every = every
        self.asked = 0  # the signal that asked to stop
        self._unsaved = False
        for left_by_kill in directory.glob("*_temp"):
            shutil.rmtree(left_by_kill, ignore_errors=True)
        variables = [*stage.variables]
        for owner in (*stage.optimizers, *stage.metrics):
            variables += owner.variables
        self._checkpoint = tf.train.Checkpoint(state=[variable.value for variable in variables])
        self._manager = tf.train.CheckpointManager(self._checkpoint, str(place), max_to_keep=2)
        self._restore()
        self._step = int(stage.optimizer.iterations.numpy())
        self._stopped = (
            directory / "stopped"
        )  # the step at which a callback of the user's has ended the stage
        stage.is_stopped = self._stopped.exists() and self._stopped.read_text() == str(self._step)
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
                f"checkpoint {self.directory / Path(newest).name} cannot be read ({type(error).__name__}): it is "
                f"damaged or of another version; remove {self.directory} to begin this stage again."
            ) from error

    def step(self) -> int:
        """Returns how many steps the stage has made."""
        return self._step

    def _save(self) -> None:
        self._require_finite()
        if not (self._manager.latest_checkpoint or "").endswith(f"ckpt-{self._step}"):
            self._manager.save(checkpoint_number=self._step)
        self._unsaved = False

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

    def ask(self, number: int) -> None:
        """Stops after the step that is being made, or at once if that is the first since the newest checkpoint."""
        if not self._unsaved and not self.asked:
            stop(number)
        self.asked = self.asked or number

    def notice(self) -> keras.callbacks.Callback:
        """Returns what must be called before all others, to know from when on there is something to save."""
        return keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: setattr(self, "_unsaved", True)
        )

    def on_epoch_begin(self, epoch, logs=None):
        if self._restore_metrics:  # `fit` has just set them to 0
            self._restore()
            self._restore_metrics = False

    def on_train_batch_end(self, batch, logs=None):
        # The others may be at another step, and a checkpoint needs all.
        if self.asked and several_workers():
            stop(self.asked)
        self._step += 1  # counted here, because reading the optimizer's counter would wait for the device
        if self._step % self.steps_per_epoch and (self.asked or self._step % self.every == 0):
            self._save()
        if self.asked:
            self.stage.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        if self._step % self.steps_per_epoch == 0:
            if self.stage.is_stopped:  # first, so that no checkpoint of this step is without
                atomic.write_text(self._stopped, str(self._step))
            else:
                self._stopped.unlink(missing_ok=True)
            self._save()
            if self.stage.has_ended:
                self.stage.stop_training = True
