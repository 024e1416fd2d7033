"""LiteRT (TensorFlow Lite) files, in ai-edge-litert or else in TensorFlow's own interpreter."""

import warnings
import zipfile

import numpy as np

LABELLING = "labelling.json"


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
        with zipfile.ZipFile(path) as archive:
            self.labelling = archive.read(LABELLING).decode("utf-8")
        self._run = _interpreter(path).get_signature_runner("serving_default")
        self._shape = tuple(self._run.get_input_details()["image"]["shape"])

    def predict(self, images):
        """Returns logits float32 [B, classes] of normalised images float32 [B, H, W, C]."""
        if images.shape[1:] != self._shape[1:]:  # the interpreter would take them and answer something
            raise ValueError(f"expected images of shape {self._shape[1:]}, received {images.shape[1:]}")
        return np.concatenate([self._run(image=image[None])["logits"] for image in images])


load = Artifact
