"""Requests to TF Serving as its warm-up file holds them (prediction_log.proto, predict.proto, classification.proto).

A request is the name of a signature and its inputs: arrays, or lists of bytes for strings.
"""

import struct

import numpy as np

from hmnas_tf.runtimes.wire import entry, field, fields, mapping, one

CLASSIFY_LOG, PREDICT_LOG = 2, 6  # of PredictionLog
STRING = 7
TYPES = {1: np.float32, 4: np.uint8, 9: np.int64}  # DataType, in protocol buffers and in the C library
CLASSIFY = "classify"  # the signature that takes tf.Examples
EXAMPLE_FEATURE = "image/encoded"


def example(file):
    """Returns a serialised tf.Example that holds an encoded image."""
    bytes_list = field(1, field(1, file))  # Feature.bytes_list, its value
    return field(1, entry(1, EXAMPLE_FEATURE, bytes_list))  # Example.features, its map


def prediction_log(model, signature, inputs):
    """Returns a request as a serialised PredictionLog; `classify` has the one input `inputs`, serialised Examples."""
    spec = field(1, field(1, model.encode()) + field(3, signature.encode()))
    if signature == CLASSIFY:
        examples = b"".join(field(1, text) for text in inputs["inputs"])
        return field(CLASSIFY_LOG, field(1, spec + field(2, field(1, examples))))
    tensors = b"".join(entry(2, name, _tensor(value)) for name, value in inputs.items())
    return field(PREDICT_LOG, field(1, spec + tensors))


def request(log):
    """Returns signature and inputs of a serialised PredictionLog.

    Raises:
        ValueError: if it is neither a prediction nor a classification.
    """
    if fields(log, CLASSIFY_LOG):
        asked = one(log, CLASSIFY_LOG, 1)
        return one(asked, 1, 3).decode(), {"inputs": fields(one(asked, 2, 1), 1)}
    if fields(log, PREDICT_LOG):
        asked = one(log, PREDICT_LOG, 1)
        return one(asked, 1, 3).decode(), {name: _value(t) for name, t in mapping(asked, 2).items()}
    raise ValueError("a warm-up record is neither a prediction nor a classification")


def records(path):
    """Yields the records of a TFRecord file.

    Raises:
        ValueError: if it ends within a record.
    """
    with open(path, "rb") as file:
        while head := file.read(12):  # length and its checksum
            whole = len(head) == 12
            if whole:
                (length,) = struct.unpack_from("<Q", head)
                content = file.read(length)
                whole = len(content) == length and len(file.read(4)) == 4
            if not whole:
                raise ValueError(f"{path} ends within a record")
            yield content


def _tensor(value):
    if isinstance(value, list):
        shape, content = (len(value),), b"".join(field(8, text) for text in value)
        return field(1, STRING) + field(2, _shape(shape)) + content
    (kind,) = (code for code, dtype in TYPES.items() if dtype == value.dtype)
    return field(1, kind) + field(2, _shape(value.shape)) + field(4, value.tobytes())


def _shape(sizes):
    return b"".join(field(2, field(1, size)) for size in sizes)


def _value(tensor):
    (kind,) = fields(tensor, 1)
    if kind == STRING:
        return fields(tensor, 8)
    shape = [one(size, 1) for size in fields(one(tensor, 2), 2)]
    return np.frombuffer(one(tensor, 4), TYPES[kind]).reshape(shape)
