"""Callbacks of a user's program: which stage each is for, and what they see of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import keras

# A callback, or what makes one for each stage, such as its class.
Given = keras.callbacks.Callback | Callable[[], keras.callbacks.Callback]
Callbacks = Mapping[str, Sequence[Given]] | Sequence[Given]


def by_stage(given: Callbacks, stages: Collection[str]) -> dict[str, list[keras.callbacks.Callback]]:
    """Returns the callbacks of each stage; those that are to be made are made.

    Args:
        given: lists of callbacks by the name of their stage, or one list for all stages.
        stages: their names.

    Raises:
        ValueError: naming what was given instead.
    """
    if not isinstance(given, Mapping):
        given = dict.fromkeys(stages, given)
    unknown = [name for name in given if name not in stages]
    if unknown:
        raise ValueError(
            f"callbacks: there is no stage {unknown[0]!r}: expected some of {', '.join(stages)}."
        )
    return {name: [_made(each, name) for each in _listed(given.get(name, ()), name)] for name in stages}


def _listed(given: Any, stage: str) -> Sequence[Any]:
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise ValueError(
            f"callbacks of {stage}: expected a list of keras.callbacks.Callback, received {_shown(given)}."
        )
    return given


def _made(given: Any, stage: str) -> keras.callbacks.Callback:
    callback = given
    if not isinstance(given, keras.callbacks.Callback) and callable(given):
        callback = given()
    if not isinstance(callback, keras.callbacks.Callback):
        made = "" if callback is given else f", which made {_shown(callback)}"
        raise ValueError(
            f"callbacks of {stage}: expected keras.callbacks.Callback or what makes one without arguments, received "
            f"{_shown(given)}{made}."
        )
    return callback


def _shown(value: Any) -> str:
    name = getattr(value, "__qualname__", "")
    return name or type(value).__qualname__


class Onlookers(keras.callbacks.Callback):
    """Shows a stage to the callbacks of a user as one `fit`, however often it was interrupted.

    They are called as Keras calls them, with two differences. The end of an epoch is only told of a whole epoch, and
    the numbers of batches count from its begin, also where a run goes on within it. And `model.stop_training` ends the
    stage with the epoch in which it was set. A run that goes on tells of its own epochs only; one that was stopped
    within is told again, and so is one that was killed before its checkpoint.

    `on_test_*` and `on_predict_*` are never called: networks are measured beside the stage. `model` is the stage, and
    `model.network` the network that it trains. Logs are copies, with everything that the stage and the project's own
    callbacks have put in.

    Args:
        callbacks: of the user.
        epochs: of the stage.
        steps_per_epoch: batches an epoch.
    """

    def __init__(self, callbacks: Sequence[keras.callbacks.Callback], epochs: int, steps_per_epoch: int):
        super().__init__()
        self.callbacks = list(callbacks)
        self.epochs = epochs
        self.steps_per_epoch = steps_per_epoch
        self._epoch = self._first = 0  # the epoch, and how many of its batches were made before
        self._has_begun = self._is_to_end = False

    def on_train_begin(self, logs=None):
        if self._has_begun:  # the rest of an interrupted epoch was a `fit` of its own
            return
        self._has_begun = True
        for callback in self.callbacks:
            callback.set_params({"verbose": 0, "epochs": self.epochs, "steps": self.steps_per_epoch})
            callback.set_model(self.model)
        self._tell("on_train_begin", logs)

    def on_train_end(self, logs=None):
        if self.model.stop_training or self._epoch + 1 >= self.epochs:
            self._tell("on_train_end", logs)

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch, self._first = epoch, self._steps() % self.steps_per_epoch
        self._tell("on_epoch_begin", epoch, logs)

    def on_epoch_end(self, epoch, logs=None):
        if self._steps() % self.steps_per_epoch:
            return
        self._tell("on_epoch_end", epoch, logs)
        self.model.is_stopped = self._is_to_end

    def on_train_batch_begin(self, batch, logs=None):
        self._tell("on_train_batch_begin", self._first + batch, logs)

    def on_train_batch_end(self, batch, logs=None):
        self._tell("on_train_batch_end", self._first + batch, logs)

    def _steps(self) -> int:
        return int(self.model.optimizer.iterations.numpy())

    def _tell(self, hook: str, *arguments: Any) -> None:
        """Calls all callbacks, and remembers if one of them asks to stop."""
        *numbers, logs = arguments
        before = self.model.stop_training
        for callback in self.callbacks:
            self.model.stop_training = False
            getattr(callback, hook)(*numbers, dict(logs or {}))
            self._is_to_end |= bool(self.model.stop_training)
        self.model.stop_training = before
