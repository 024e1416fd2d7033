"""`.keras` files, in Keras."""

import zipfile

import keras

LABELLING = "labelling.json"


class Artifact:
    """A `.keras` file.

    Attributes:
        labelling: JSON text that travels with the weights.
    """

    def __init__(self, path):
        self._model = keras.models.load_model(path, compile=False)
        self._model.compile(jit_compile=False)  # a graph, but not XLA's: that takes long to compile
        with zipfile.ZipFile(path) as archive:
            self.labelling = archive.read(LABELLING).decode("utf-8")

    def predict(self, images):
        """Returns logits float32 [B, classes] of normalised images float32 [B, H, W, C]."""
        return self._model.predict_on_batch(images)


load = Artifact
