"""ONNX files, in onnxruntime on the CPU."""

import functools
import json

import numpy as np
import onnxruntime


class Artifact:
    """An ONNX file.

    Args:
        path: of the file.
        threads: that one image may use; 0 is as many as the runtime likes.

    Attributes:
        labelling: JSON text, put together from the file's metadata.
    """

    def __init__(self, path, threads=0):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors; its warnings are about speed
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._batch = self._session.get_inputs()[0].shape[0]
        texts = self._session.get_modelmeta().custom_metadata_map
        kept = ("class_names", "mean", "std", "image_shape", "white", "resized")
        self.labelling = json.dumps({name: json.loads(texts[name]) for name in kept if name in texts})

    def predict(self, images):
        """Returns logits float32 [B, classes] of normalised images float32 [B, H, W, C]."""
        if isinstance(self._batch, str):
            return self._session.run(["logits"], {"image": images})[0]
        rows = [self._session.run(["logits"], {"image": image[None]})[0] for image in images]
        return np.concatenate(rows)  # a file for batches of 1

    def prepared(self, images):
        """Returns what computes the logits of normalised images float32 [B, H, W, C] each time it is called."""
        return functools.partial(self._session.run, ["logits"], {"image": images})


load = Artifact
