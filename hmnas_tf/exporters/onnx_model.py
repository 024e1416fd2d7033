"""ONNX: for phones and for runtimes without TensorFlow. Needs the extra `hmnas_tf[onnx]`."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hmnas_tf import atomic
from hmnas_tf.exporters import contract, parity

# tf2onnx refuses 19 and above; with 18 global pooling stays a ReduceMean between two transposes.
OPSET = 17
BATCH_NAME = "batch"

_MODULES = ("tf2onnx", "onnx", "onnxruntime")
_STANDARD_DOMAINS = ("", "ai.onnx")


def missing_packages() -> list[str]:
    """Returns what stands in the way of ONNX as one-line messages, without importing anything; [] when nothing."""
    missing = [name for name in _MODULES if importlib.util.find_spec(name) is None]
    if not missing:
        return []
    return [
        f"onnx: expected {', '.join(_MODULES)}, missing {', '.join(missing)}; pip install 'hmnas_tf[onnx]'"
    ]


def export_onnx(
    model: keras.Model,
    path: str | os.PathLike,
    labelling: contract.Labelling,
    check: parity.Check | None = None,
) -> Path:
    """Writes the model as ONNX with fixed image size and free batch size, verified in onnxruntime.

    The image size is fixed because dilated convolutions on a free one become dozens of shape operations. tf2onnx
    reports success on operations it cannot convert, hence the full checker and a run before the file gets its name.

    Args:
        model: stock layers, float32; input `image` [None, H, W, C], output logits [None, classes].
        path: the file; one that exists is replaced atomically.
        labelling: written into the file's metadata, lists as JSON.
        check: called with the finished file before it gets its name; by default it is run and compared.

    Returns:
        `path`. Input `image` float32 [batch, H, W, C], output `logits` float32 [batch, classes].

    Raises:
        ImportError: when a package is missing, with the command that installs it.
        ValueError: when the model cannot be exported faithfully.
        parity.ParityError: when the file does not compute what the model computes; `path` is then unchanged.
    """
    for message in missing_packages():
        raise ImportError(message)
    contract.require_exportable(model, labelling)
    check = check or parity.noise_check("onnx", model, load_onnx)
    proto = _finish(_convert(model), labelling)
    with atomic.replacing(path) as temporary:
        temporary.write_bytes(proto.SerializeToString())
        check(temporary)
    return Path(path)


def load_onnx(path: str | os.PathLike) -> parity.Predict:
    """Loads an ONNX file in onnxruntime on the CPU.

    Args:
        path: the file.

    Returns:
        A function from normalised images float32 [B, H, W, C] to logits float32 [B, classes].

    Raises:
        ImportError: when a package is missing, with the command that installs it.
    """
    for message in missing_packages():
        raise ImportError(message)
    import onnxruntime  # an extra: only those who ask for ONNX need it

    session = onnxruntime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])

    def predict(images: np.ndarray) -> np.ndarray:
        return session.run([contract.OUTPUT_NAME], {contract.INPUT_NAME: images})[0]

    return predict


def _convert(model: keras.Model) -> Any:
    import tf2onnx

    core = parity.inference_function(model)
    # The dictionary names the output; without it tf2onnx calls it Identity:0.
    function = tf.function(
        lambda image: {contract.OUTPUT_NAME: core(image)},
        input_signature=core.input_signature,
        autograph=False,
    )
    proto, _ = tf2onnx.convert.from_function(function, input_signature=function.input_signature, opset=OPSET)
    foreign = sorted(
        {f"{node.domain}.{node.op_type}" for node in proto.graph.node if node.domain not in _STANDARD_DOMAINS}
    )
    if foreign:
        raise RuntimeError(f"onnx: expected operations of the standard domain, received {foreign}")
    return proto


def _finish(proto: Any, labelling: contract.Labelling) -> Any:
    import onnx

    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH_NAME
    del proto.graph.value_info[
        :
    ]  # inferred again below; the old ones carry the old name of the batch dimension
    standard = [opset for opset in proto.opset_import if opset.domain in _STANDARD_DOMAINS]
    del proto.opset_import[:]
    proto.opset_import.extend(standard)
    proto.graph.name = proto.producer_name = "hmnas_tf"
    proto.producer_version = _version()
    onnx.helper.set_model_props(proto, labelling.to_strings())
    proto = onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _version() -> str:
    try:
        return importlib.metadata.version("hmnas_tf")
    except importlib.metadata.PackageNotFoundError:  # run from the source tree
        return "source"
