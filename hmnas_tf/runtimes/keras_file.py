"""`.keras` files, in Keras."""

import keras
import tensorflow as tf

from hmnas_tf.runtimes.archive import read_labelling


class Artifact:
    """A `.keras` file.

    Attributes:
        labelling: JSON text that travels with the weights.
    """

    def __init__(self, path):
        # One graph for batches of all sizes; `predict_on_batch` makes two, which takes seconds.
        self._predict = inference_function(keras.models.load_model(path, compile=False))
        self.labelling = read_labelling(path)

    def predict(self, images):
        """Returns logits float32 [B, classes] of normalised images float32 [B, H, W, C]."""
        return self._predict(images).numpy()


def inference_function(model):
    """Returns the inference of a `keras.Model` as one traced graph with a free batch dimension and a fixed image size.

    It is a `tf.function` from `image` float32 [None, H, W, C], the model's input, to logits float32 [None, classes].
    """
    signature = [tf.TensorSpec(model.inputs[0].shape, tf.float32, name=model.inputs[0].name)]
    # Without autograph=False TensorFlow tries, and fails, to read the source of a lambda.
    return tf.function(lambda image: model(image, training=False), input_signature=signature, autograph=False)


load = Artifact
