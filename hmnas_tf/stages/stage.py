"""What the training steps of all stages have in common: losses, gradients and metrics over any number of replicas."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hmnas_tf.stages.strategy import several_workers


class Stage(keras.Model):
    """A network being trained: wraps it, counts loss and error, and knows its optimizers.

    `fit`, callbacks and distribution come from Keras. A stage has no layers of its own and never decides what a
    network computes; it only trains one group of its variables. As it is, without an optimizer, it only evaluates.

    Args:
        network: maps images [batch, height, width, channels] to logits [batch, classes]; built.

    Attributes:
        label_smoothing: of the loss that is trained, not of the one that is measured; see `cross_entropy`.
        class_weights: likewise, float32 [classes]; None weighs all images alike.
        is_stopped: whether a callback of the user's has ended it.
    """

    def __init__(self, network: keras.Model, **kwargs):
        super().__init__(**kwargs)
        self.network = network
        self.label_smoothing = 0.0
        self.class_weights = None
        self.is_stopped = False
        self.loss_mean = keras.metrics.Mean("loss")
        self.error = keras.metrics.Mean("error")
        self.built = True

    @property
    def optimizers(self) -> list[keras.optimizers.Optimizer]:
        """All optimizers, built; a checkpoint needs every one."""
        return [self.optimizer]

    @property
    def metrics(self):
        return [self.loss_mean, self.error]

    def call(self, images, training=None):
        return self.network(images, training=training)

    def loss_and_logits(self, images: Any, labels: Any) -> tuple[Any, Any]:
        """Returns the mean cross-entropy of a batch in training mode, and the logits."""
        logits = self.network(images, training=True)
        return self.cross_entropy(labels, logits), logits

    def cross_entropy(self, labels: Any, logits: Any) -> Any:
        """Returns the mean cross-entropy of a batch that is trained on, see `cross_entropy`."""
        return cross_entropy(labels, logits, self.label_smoothing, self.class_weights)

    def test_step(self, data):
        images, labels, weights = data  # padding has weight 0
        logits = self.network(images, training=False)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        self.loss_mean.update_state(losses, sample_weight=weights)
        self.error.update_state(_wrong(labels, logits), sample_weight=weights)
        self.observe(labels, logits, weights)
        return _results((self.loss_mean, self.error))

    @property
    def has_ended(self) -> bool:
        """Whether it is not worth to train on, at the end of an epoch, or the user wants no more."""
        return self.is_stopped

    def measured(self) -> contextlib.AbstractContextManager[None]:
        """Inside, the network has the weights that are measured, where those are not the ones that are trained."""
        return contextlib.nullcontext()

    def see(self, epoch: int, error: float, loss: float) -> None:
        """Is told what was measured after an epoch, in `measured`: its number from 1, error in percent, and loss."""

    def observe(self, labels: Any, logits: Any, weights: Any) -> None:
        """Is shown what a network that is measured says of a batch, to count more than errors."""

    def count(self, loss: Any, labels: Any, logits: Any) -> dict[str, Any]:
        """Adds a batch to loss and error (percent) and returns both, averaged over the epoch so far."""
        self.loss_mean.update_state(loss)
        self.error.update_state(_wrong(labels, logits))
        return _results(self.metrics)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Keeps Keras from calling the network once more to build it: it is built."""


def _results(metrics: Sequence[keras.metrics.Metric]) -> dict[str, Any]:
    """Returns what metrics hold by their names, as Keras' `fit` expects it of a step."""
    results = {metric.name: metric.result() for metric in metrics}
    # Over several workers Keras takes the mean over the first axis, which a scalar lacks.
    return {name: value[None] for name, value in results.items()} if several_workers() else results


def _wrong(labels: Any, logits: Any) -> Any:
    """Returns 100 for each wrong image and 0 for the others: their mean is the error in percent.

    Of mixed labels the class with the largest share is the right one.
    """
    if _are_mixed(labels):
        labels = tf.argmax(labels, -1)
    return 100.0 * tf.cast(tf.argmax(logits, -1, labels.dtype) != labels, tf.float32)


def cross_entropy(
    labels: Any, logits: Any, smoothing: float = 0.0, class_weights: np.ndarray | None = None
) -> Any:
    """Returns the mean cross-entropy of a batch: labels [batch], logits [batch, classes].

    Labels may be mixed: shares of the classes, [batch, classes]. The loss of an image is then that of each class, as if
    it were its label, by these shares; so are weights and smoothing.
    With smoothing (arXiv:1512.00567, section 7) all classes share so much of each label alike, the right one included.
    With weights [classes] each image counts as much as its class weighs. The sum is divided by the images, not by their
    weights, so that the parts of a batch that replicas have are alike.
    """
    weigh = weighing(labels, class_weights)
    if _are_mixed(labels):
        shares = labels if class_weights is None else labels * tf.constant(class_weights)
        loss = -tf.reduce_mean(tf.reduce_sum(shares * tf.nn.log_softmax(logits), axis=-1))
    else:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        loss = tf.reduce_mean(weigh(losses))
    if not smoothing:
        return loss
    return (1.0 - smoothing) * loss - smoothing * tf.reduce_mean(weigh(tf.nn.log_softmax(logits)))


def _are_mixed(labels: Any) -> bool:
    """Returns whether labels are shares of the classes, [batch, classes], see `data.augmentation.mixed`."""
    return len(labels.shape) == 2


def weighing(labels: Any, class_weights: np.ndarray | None) -> Callable[[Any], Any]:
    """Returns what multiplies values [batch] or [batch, classes] by the weights of the images' classes, if any."""
    if class_weights is None:
        return lambda values: values
    weights = tf.constant(class_weights)
    weights = tf.linalg.matvec(labels, weights) if _are_mixed(labels) else tf.gather(weights, labels)
    return lambda values: tf.reshape(weights, [-1] + [1] * (len(values.shape) - 1)) * values


def gradients(loss: Callable[[], tuple], variables: Sequence[keras.Variable]) -> tuple[Any, list[Any], Any]:
    """Returns the loss of this replica, the gradients of the mean loss over all replicas, and what else `loss` gave.

    Args:
        loss: computes (loss, anything) of this replica's part of the batch.
        variables: only these are differentiated, so nothing else is computed on the way back.
    """
    other = []

    def first() -> Any:
        result, rest = loss()
        other.append(rest)
        return result

    result, found = differentiate(first, [variable.value for variable in variables])
    return result, found, other[0]


def differentiate(loss: Callable[[], Any], values: list[Any]) -> tuple[Any, list[Any]]:
    """Returns the loss of this replica and the gradients in `values`, tensors or variables, of the mean loss."""
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(values)
        result = loss()
        scaled = result / replicas if replicas > 1 else result
    found = tape.gradient(scaled, values, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    if replicas > 1:
        found = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, found)
    return result, found


def apply(
    optimizer: keras.optimizers.Optimizer, found: Sequence[Any], variables: Sequence[keras.Variable]
) -> None:
    """Lets an optimizer use gradients that are equal on all replicas; Keras sums over replicas, hence the division."""
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if replicas > 1:
        found = [gradient / replicas for gradient in found]
    optimizer.apply_gradients(zip(found, variables, strict=True))


def clip(found: Sequence[Any], norm: float) -> list[Any]:
    """Returns gradients scaled so that their global norm is at most `norm`; 0 is no limit."""
    return list(found) if not norm else tf.clip_by_global_norm(found, norm)[0]


def add_decay(found: Sequence[Any], variables: Sequence[keras.Variable], factor: float) -> list[Any]:
    """Returns gradients with an L2 term; Keras' own `weight_decay` is decoupled, which is another method."""
    if not factor:
        return list(found)
    factor = tf.constant(factor)  # once in the graph
    return [gradient + factor * variable.value for gradient, variable in zip(found, variables, strict=True)]
