"""LiteRT (TensorFlow Lite) files, in ai-edge-litert or else in TensorFlow's own interpreter."""

import functools
import warnings

import numpy as np

from hmnas_tf.runtimes.archive import read_labelling


def interpreter(path, threads, *, reference=False):
    """Returns LiteRT's interpreter of a file.

    Args:
        path: of the file.
        threads: that one image may use; 0 is as many as it likes.
        reference: take the kernels of reference, which are slow and round as is specified.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError:
        import tensorflow

        Interpreter, OpResolverType = tensorflow.lite.Interpreter, tensorflow.lite.experimental.OpResolverType
    kernels = OpResolverType.BUILTIN_REF if reference else OpResolverType.AUTO
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's is to be removed some day
        return Interpreter(
            model_path=str(path), num_threads=threads or None, experimental_op_resolver_type=kernels
        )


class Artifact:
    """A LiteRT file, which runs batches of 1.

    Args:
        path: of the file.
        threads: that one image may use; 0 is as many as the runtime likes.

    Attributes:
        labelling: JSON text from the archive at the end of the file.
    """

    def __init__(self, path, threads=0):
        self.labelling = read_labelling(path)
        self._open = functools.partial(interpreter, path, threads)
        self._run = self._open().get_signature_runner("serving_default")
        self._shape = tuple(self._run.get_input_details()["image"]["shape"])

    def predict(self, images):
        """Returns logits float32 [B, classes] of normalised images float32 [B, H, W, C]."""
        if images.shape[1:] != self._shape[1:]:  # the interpreter would take them and answer something
            raise ValueError(f"expected images of shape {self._shape[1:]}, received {images.shape[1:]}")
        return np.concatenate([self._run(image=image[None])["logits"] for image in images])

    def prepared(self, images):
        """Returns what computes the logits of one normalised image float32 [1, H, W, C] each time it is called."""
        interpreter = self._open()  # of its own: a signature's keeps references to its tensors
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images)
        return interpreter.invoke


load = Artifact
