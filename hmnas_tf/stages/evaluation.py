"""Test error of a network, and the statistics of its batch normalizations."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hmnas_tf.console.progress import Progress, Say, silent
from hmnas_tf.scoring.scores import scores
from hmnas_tf.settings.paper import BATCH_NORM_MOMENTUM
from hmnas_tf.stages.counting import PredictionCounts
from hmnas_tf.stages.stage import Stage


class BatchStatistics(Stage):
    """Re-estimates the moving averages of all batch normalizations of a network (§3.4; OFA does it after extraction).

    After masking, the averages of training describe another network. They become the plain mean of the statistics of
    all batches of one pass over training images, instead of an exponential one in which the last batches dominate.

    Args:
        network: built; nothing but its moving averages is changed.
    """

    def __init__(self, network: keras.Model):
        super().__init__(network, name="batch_statistics")
        self.compile(jit_compile=False)

    def train_step(self, data):
        images, labels = data
        loss, logits = self.loss_and_logits(images, labels)
        return self.count(loss, labels, logits)

    def estimate(self, batches: tf.data.Dataset, say: Say = silent) -> None:
        """Runs over `batches` of (images, labels) once, and says how far it is if that takes long.

        Raises:
            ValueError: if there is no batch.
        """
        averages = self.network.non_trainable_variables
        sums = [np.zeros(variable.shape, np.float64) for variable in averages]
        seen = [0]

        def reset(batch: int, logs=None) -> None:
            for variable in averages:
                variable.assign(np.zeros(variable.shape, np.float32))

        def collect(batch: int, logs=None) -> None:
            seen[0] += 1
            for total, variable in zip(sums, averages, strict=True):
                total += variable.numpy()  # (1 - momentum) * the statistics of this batch

        hooks = keras.callbacks.LambdaCallback(on_train_batch_begin=reset, on_train_batch_end=collect)
        shown = BatchProgress("batch statistics", say)
        self.fit(batches, verbose=0, shuffle=False, callbacks=[hooks, shown])
        if not seen[0]:
            raise ValueError("batch statistics need at least one batch of images, and there was none.")
        for total, variable in zip(sums, averages, strict=True):
            variable.assign((total / seen[0] / (1.0 - BATCH_NORM_MOMENTUM)).astype(np.float32))


class Evaluation(Stage):
    """Measures a network on test images, with what `scoring.scores` needs to know of them.

    Args:
        network: built; maps images to logits [batch, classes].
        classes: their number.
    """

    def __init__(self, network: keras.Model, classes: int):
        super().__init__(network, name="evaluation")
        self.counted = PredictionCounts(classes)
        self.compile(jit_compile=False)

    @property
    def metrics(self):
        return [*super().metrics, self.counted]

    def observe(self, labels, logits, weights):
        self.counted.update_state(labels, logits, weights)


class BatchProgress(keras.callbacks.Callback):
    """Says how many batches of one pass are done, see `hmnas_tf.console.progress`.

    Args:
        what: the pass is for.
        say: shows a line to the user.
    """

    def __init__(self, what: str, say: Say):
        super().__init__()
        self.what = what
        self.say = say

    def on_test_begin(self, logs=None):
        # Keras does not know the number of batches of every dataset; without one there is no time left to tell.
        self._progress = Progress(self.say, self.what, self.params["steps"] or 0)

    def on_test_batch_end(self, batch, logs=None):
        self._progress.done(batch + 1)

    on_train_begin = on_test_begin
    on_train_batch_end = on_test_batch_end


class Meter:
    """Measures one network again and again, with graphs that are traced once.

    Args:
        network: built; make the meter in the strategy's scope.
        test: batches of (images, labels, weights), the test split.
        training: batches of (images, labels) that batch statistics are estimated from.
        classes: their number.
        say: shows a line to the user.
    """

    def __init__(
        self,
        network: keras.Model,
        test: tf.data.Dataset,
        training: tf.data.Dataset,
        classes: int,
        say: Say = silent,
    ):
        self._evaluation = Evaluation(network, classes)
        self._statistics = BatchStatistics(network)
        self._test = test
        self._training = training
        self._say = say

    def error_and_loss(self) -> tuple[float, float]:
        """Returns the test error in percent, and the mean cross-entropy of the same images."""
        shown = BatchProgress("evaluation", self._say)
        logs = self._evaluation.evaluate(self._test, verbose=0, return_dict=True, callbacks=[shown])
        return float(logs["error"]), float(logs["loss"])

    def test_error(self) -> float:
        """Returns the test error in percent."""
        return self.error_and_loss()[0]

    def results(self) -> dict[str, Any]:
        """Returns `test_error`, and `scores` of the same images, see `scoring.scores`."""
        return {"test_error": self.test_error(), "scores": scores(self._evaluation.counted.counts())}

    def estimate_statistics(self) -> None:
        """Re-estimates the network's batch statistics."""
        self._say("batch statistics: estimated again; the first step builds a graph")
        self._statistics.estimate(self._training, self._say)
