"""LiteRT (TensorFlow Lite) files, in ai-edge-litert or else in TensorFlow's own interpreter."""

import warnings

import numpy as np

from hmnas_tf.runtimes.archive import read_labelling


def _interpreter(path):
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        import tensorflow

        Interpreter = tensorflow.lite.Interpreter
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's is to be removed some day
        return Interpreter(model_path=str(path))


class Artifact:
    """A LiteRT file, which runs batches of 1.

    Attributes:
        labelling: JSON text from the archive at the end of the file.
    """

    def __init__(self, path):
        self.labelling = read_labelling(path)
        self._run = _interpreter(path).get_signature_runner("serving_default")
        self._shape = tuple(self._run.get_input_details()["image"]["shape"])

    def predict(self, images):
        """Returns logits float32 [B, classes] of normalised images float32 [B, H, W, C]."""
        if images.shape[1:] != self._shape[1:]:  # the interpreter would take them and answer something
            raise ValueError(f"expected images of shape {self._shape[1:]}, received {images.shape[1:]}")
        return np.concatenate([self._run(image=image[None])["logits"] for image in images])


load = Artifact
