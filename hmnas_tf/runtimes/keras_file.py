"""`.keras` files, in Keras."""

import functools

import keras
import tensorflow as tf

from hmnas_tf.runtimes.archive import read_labelling


class Artifact:
    """A `.keras` file.

    Attributes:
        labelling: JSON text that travels with the weights.
    """

    def __init__(self, path):
        model = keras.models.load_model(path, compile=False)
        # One graph for batches of all sizes; `predict_on_batch` makes two, which takes seconds.
        self._predict = tf.function(
            functools.partial(model, training=False),
            input_signature=[tf.TensorSpec(model.inputs[0].shape, tf.float32)],
            autograph=False,
        )
        self.labelling = read_labelling(path)

    def predict(self, images):
        """Returns logits float32 [B, classes] of normalised images float32 [B, H, W, C]."""
        return self._predict(images).numpy()


load = Artifact
