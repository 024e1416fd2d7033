"""ONNX: for phones and for runtimes without TensorFlow. Needs the extra `hmnas_tf[onnx]`."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from hmnas_tf.data.augmentation import normalise
from hmnas_tf.exporters import contract, parity
from hmnas_tf.exporters.contract import INPUT_NAME, OUTPUT_NAME, PROBABILITIES_NAME, Cargo
from hmnas_tf.storage import atomic

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


def export_onnx(cargo: Cargo, path: Path, check: contract.Check, batch: int | str = BATCH_NAME) -> Path:
    """Writes the model as ONNX with a fixed image size.

    The image size is fixed because dilated convolutions on a free one become dozens of shape operations. tf2onnx
    reports success on operations it cannot convert, hence the full checker before the file gets its name.

    Args:
        cargo: what to write; labelling and genotype become the file's metadata, lists as JSON.
        path: the file; one that exists is replaced atomically.
        check: called with the finished file before it gets its name.
        batch: images at a time, a number or the name of a free dimension. The compilers of phones take only numbers.

    Returns:
        `path`. Input `image` float32 [batch, H, W, C]; outputs `logits` and `probabilities` float32 [batch, classes].

    Raises:
        ImportError: when a package is missing, with the command that installs it.
        ArtifactError: from `check`; `path` is then unchanged.
    """
    _require_packages()
    return _replace(path, _finish(cargo, batch), check)


def serialised(cargo: Cargo, batch: int | str) -> bytes:
    """Returns what `export_onnx` writes, for an artifact of which it is a part."""
    _require_packages()
    return _finish(cargo, batch).SerializeToString()


def export_int8(cargo: Cargo, path: Path, check: contract.Check) -> Path:
    """Writes the model as ONNX with weights by channel and activations in 8 bits, as pairs of quantize and dequantize.

    Args:
        cargo: what to write; its calibration images give the activations' ranges.
        path: the file; one that exists is replaced atomically.
        check: called with the finished file before it gets its name.

    Returns:
        `path`; inputs and outputs as of `export_onnx`, float32.

    Raises:
        ImportError: when a package is missing, with the command that installs it.
        ArtifactError: from `check`; `path` is then unchanged.
    """
    _require_packages()
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        plain, prepared, quantized = (Path(folder, name) for name in ("plain", "prepared", "quantized"))
        onnx.save(_finish(cargo, BATCH_NAME), plain)
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)  # shapes are known
        # Its advice to do what the line above does comes all the same.
        logging.getLogger().addFilter(_is_no_advice)
        try:
            quantization.quantize_static(
                prepared,
                quantized,
                _Calibration(cargo),
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                reduce_range=True,  # 7 bits: with 8, sums of two products overflow on x86 without VNNI
            )
        finally:
            logging.getLogger().removeFilter(_is_no_advice)
        proto = onnx.load(quantized)
    _describe(proto, cargo)
    onnx.checker.check_model(proto, full_check=True)
    return _replace(path, proto, check)


class _Calibration:
    """Gives onnxruntime's calibration one image after the other."""

    def __init__(self, cargo: Cargo):
        images = normalise(cargo.calibration, cargo.labelling.mean, cargo.labelling.std).numpy()
        self._rest: Iterator[np.ndarray] = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._rest, None)
        return None if image is None else {INPUT_NAME: image[None]}


def _is_no_advice(record: logging.LogRecord) -> bool:
    return "pre-processing before quantization" not in record.getMessage()


def _require_packages() -> None:
    for message in missing_packages():
        raise ImportError(message)


def _replace(path: Path, proto: Any, check: contract.Check) -> Path:
    with atomic.replacing(path) as temporary:
        temporary.write_bytes(proto.SerializeToString())
        check(temporary)
    return path


def _converted(cargo: Cargo) -> bytes:
    import tf2onnx

    core = cargo.once(parity.inference_of)

    def named(image: tf.Tensor) -> dict[str, tf.Tensor]:  # without names tf2onnx calls them Identity:0
        logits = core(image)
        return {OUTPUT_NAME: logits, PROBABILITIES_NAME: tf.nn.softmax(logits)}

    function = tf.function(named, input_signature=core.input_signature, autograph=False)
    proto, _ = tf2onnx.convert.from_function(function, input_signature=function.input_signature, opset=OPSET)
    foreign = sorted(
        {f"{node.domain}.{node.op_type}" for node in proto.graph.node if node.domain not in _STANDARD_DOMAINS}
    )
    if foreign:
        raise RuntimeError(f"onnx: expected operations of the standard domain, received {foreign}")
    _fuse_pads(proto.graph)
    return proto.SerializeToString()


def _fuse_pads(graph: Any) -> None:
    """Lets convolutions pad by themselves where all readers of a padded image are convolutions.

    tf2onnx does so for one reader. A Pad of its own splits the graph for Core ML.
    """
    import onnx

    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for pad in [node for node in graph.node if node.op_type == "Pad"]:
        readers = [node for node in graph.node if pad.output[0] in node.input]
        pads, *value = (constants.get(name) for name in pad.input[1:])
        images_only = pads is not None and not pads[[0, 1, 4, 5]].any() and not any(np.any(v) for v in value)
        padded = any(a.name in ("pads", "auto_pad") for node in readers for a in node.attribute)
        if not images_only or padded or {node.op_type for node in readers} != {"Conv"}:
            continue
        for node in readers:
            node.input[0] = pad.input[0]
            node.attribute.append(onnx.helper.make_attribute("pads", [int(pads[i]) for i in (2, 3, 6, 7)]))
        graph.node.remove(pad)
    read = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)


def _finish(cargo: Cargo, batch: int | str) -> Any:
    import onnx

    proto = onnx.ModelProto.FromString(cargo.once(_converted))
    for value in (*proto.graph.input, *proto.graph.output):
        dimension = value.type.tensor_type.shape.dim[0]
        if isinstance(batch, str):
            dimension.dim_param = batch
        else:
            dimension.dim_value = batch
    # Inferred again below; the old ones carry the old name of the batch dimension.
    del proto.graph.value_info[:]
    _describe(proto, cargo)
    proto = onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _describe(proto: Any, cargo: Cargo) -> None:
    import onnx

    standard = [opset for opset in proto.opset_import if opset.domain in _STANDARD_DOMAINS]
    del proto.opset_import[:]
    proto.opset_import.extend(standard)
    proto.graph.name = proto.producer_name = "hmnas_tf"
    proto.producer_version = _version()
    onnx.helper.set_model_props(proto, cargo.labelling.to_strings() | {"genotype": cargo.genotype})


def _version() -> str:
    try:
        return importlib.metadata.version("hmnas_tf")
    except importlib.metadata.PackageNotFoundError:  # run from the source tree
        return "source"
