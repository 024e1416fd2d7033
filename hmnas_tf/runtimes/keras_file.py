"""`.keras` files, in Keras."""

import keras

from hmnas_tf.runtimes.archive import read_labelling


class Artifact:
    """A `.keras` file.

    Attributes:
        labelling: JSON text that travels with the weights.
    """

    def __init__(self, path):
        self._model = keras.models.load_model(path, compile=False)
        self._model.compile(jit_compile=False)  # a graph, but not XLA's: that takes long to compile
        self.labelling = read_labelling(path)

    def predict(self, images):
        """Returns logits float32 [B, classes] of normalised images float32 [B, H, W, C]."""
        return self._model.predict_on_batch(images)


load = Artifact
