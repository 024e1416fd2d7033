"""Counts of predictions, added up over batches, replicas and workers."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from hmnas_tf.scoring.scores import BINS, Counts


class PredictionCounts(keras.metrics.Metric):
    """`scoring.Counts` as a metric; what is counted is exact up to 2^24 images of one kind.

    Args:
        classes: their number.
    """

    def __init__(self, classes: int):
        super().__init__(name="prediction_counts")
        self.confusion = self.add_variable((classes, classes), "zeros", name="confusion")
        self.bins = self.add_variable((BINS, 3), "zeros", name="bins")

    def update_state(self, labels: Any, logits: Any, sample_weight: Any) -> None:
        """Adds images: labels [batch], logits [batch, classes], weights [batch], which are 1, or 0 for padding."""
        predicted = tf.argmax(logits, -1, tf.int32)
        probabilities = tf.reduce_max(tf.nn.softmax(tf.cast(logits, tf.float32)), axis=-1)
        pairs = tf.stack([tf.cast(labels, tf.int32), predicted], axis=1)
        self.confusion.assign_add(tf.scatter_nd(pairs, sample_weight, self.confusion.shape))
        places = tf.clip_by_value(tf.cast(tf.math.ceil(probabilities * BINS), tf.int32) - 1, 0, BINS - 1)
        right = tf.cast(predicted == tf.cast(labels, tf.int32), tf.float32)
        columns = tf.stack([tf.ones_like(probabilities), probabilities, right], axis=1)  # [batch, 3]
        added = tf.scatter_nd(places[:, None], sample_weight[:, None] * columns, self.bins.shape)
        self.bins.assign_add(added)

    def result(self) -> Any:
        """Returns the number of images."""
        return tf.reduce_sum(self.confusion.value)

    def counts(self) -> Counts:
        """Returns what was counted since the last reset."""
        return Counts(self.confusion.numpy().astype("int64"), self.bins.numpy().astype("float64"))
