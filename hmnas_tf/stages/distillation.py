"""Learning from a teacher: its probabilities beside the labels (Hinton et al., arXiv:1503.02531; off by default)."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import tensorflow as tf

from hmnas_tf.settings.paper import DISTILLATION_SHARE, DISTILLATION_TEMPERATURE


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A network that is not trained; as a plain object it is no part of the stage, nor of its checkpoints.

    Attributes:
        network: normalised images to logits, or to logarithms of probabilities: the same after a softmax.
    """

    network: keras.Model

    def added(self, loss: Any, images: Any, logits: Any, weigh: Any) -> Any:
        """Returns (1 - s) * loss + s * T^2 * the mean of KL(softmax(teacher / T) || softmax(student / T)).

        T^2 keeps the gradients of both terms of one size, whatever the temperature T is.

        Args:
            loss: of the labels, mean of the batch.
            images: [batch, height, width, channels], normalised.
            logits: the student's, [batch, classes].
            weigh: multiplies values [batch] by what each image counts.
        """
        taught = tf.cast(self.network(images, training=False), tf.float32)
        divergence = softened_divergence(taught, tf.cast(logits, tf.float32))
        return (1.0 - DISTILLATION_SHARE) * loss + DISTILLATION_SHARE * tf.reduce_mean(weigh(divergence))


def softened_divergence(teacher: Any, student: Any, temperature: float = DISTILLATION_TEMPERATURE) -> Any:
    """Returns T^2 * KL(softmax(teacher / T) || softmax(student / T)) of each image, [batch], of logits."""
    teacher, student = (tf.nn.log_softmax(logits / temperature) for logits in (teacher, student))
    return temperature**2 * tf.reduce_sum(tf.exp(teacher) * (teacher - student), axis=-1)
