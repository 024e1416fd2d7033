"""Microcontrollers: 8 bits from input to output, as a file and as C. Needs the extra `hmnas_tf[micro]`."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.lite.tools import flatbuffer_utils

from hmnas_tf.exporters import c_source, clean_process, contract, litert, micro_graph, parity
from hmnas_tf.exporters.contract import Cargo
from hmnas_tf.runtimes.micro_files import FACTS, HEADER, MODEL, SOURCE, input_of_pixels
from hmnas_tf.storage import atomic

SCHEMA = 1
NAME, PACKAGE = "micro", "tflite_micro"
# DECISION: steps of 8 bits that LiteRT's answer may be apart; its kernels round otherwise, in each layer.
APART = 3


def missing_packages() -> list[str]:
    """Returns what stands in the way as one-line messages, without importing anything; [] when nothing."""
    if importlib.util.find_spec(PACKAGE) is not None:
        return []
    return [f"{NAME}: expected {PACKAGE}, missing {PACKAGE}; pip install 'hmnas_tf[micro]'"]


def export_micro(cargo: Cargo, path: Path, check: contract.Check) -> Path:
    """Writes a folder with the model for TensorFlow Lite for Microcontrollers, the same as C, and what to know of it.

    The model is slimmed, see `micro_graph`; how much memory the interpreter needs is tried out.

    Args:
        cargo: what to write; its calibration images give the ranges of activations.
        path: the folder; one that exists is replaced whole.
        check: called with the finished folder before it gets its name.

    Returns:
        `path`.

    Raises:
        ImportError: when the package is missing, with the command that installs it.
        ArtifactError: if the interpreter does not know an operator, or from `check`; `path` is then unchanged.
    """
    for message in missing_packages():
        raise ImportError(message)
    with atomic.replacing_folder(path) as folder:
        facts = write_model(cargo, folder)
        content = (folder / MODEL).read_bytes()
        (folder / SOURCE).write_text(c_source.source(facts, content, input_of_pixels(facts)), "utf-8")
        (folder / HEADER).write_text(c_source.header(facts), "utf-8")
        (folder / FACTS).write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
        check(folder)
    return path


def write_model(cargo: Cargo, folder: Path) -> dict[str, Any]:
    """Writes the model alone into a folder and returns the facts of it, the content of `micro.json`.

    Raises:
        ArtifactError: if the interpreter does not know an operator.
    """
    model = micro_graph.slimmed(litert.converted(cargo, int8_throughout))
    if micro_graph.BEFORE in micro_graph.names_of(model):
        raise parity.ArtifactError(
            f"{NAME}: expected no {micro_graph.BEFORE}, which is wrong on microcontrollers, received one of a "
            "layer with dilation; not published: leave the layer out, or export another format"
        )
    content = bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    (folder / MODEL).write_bytes(content)
    found = clean_process.micro_arena(folder / MODEL)
    (graph,) = model.subgraphs
    arena = {name: int(value) for name, value in found.items()}
    return {
        "schema": SCHEMA,
        "model": MODEL,
        "flash_bytes": len(content),
        **arena,
        "measured_with": f"{PACKAGE} {importlib.metadata.version(PACKAGE)}",
        "operators": micro_graph.operators_of(model),
        "input": _end(graph.tensors[graph.inputs[0]]),
        "output": _end(graph.tensors[graph.outputs[0]]),
        "labelling": json.loads(cargo.labelling.to_json()),
    }


def int8_throughout(converter: tf.lite.TFLiteConverter, cargo: Cargo) -> None:
    """Sets a converter to 8 bits, those of the input and the output too."""
    litert.int8(converter, cargo)
    converter.inference_input_type = converter.inference_output_type = tf.int8


def compare(found: Mapping[str, np.ndarray], expected: np.ndarray, labelling: contract.Labelling) -> None:
    """Compares what the interpreter for microcontrollers answers with what LiteRT does.

    Args:
        found: of `runtimes.micro_folder`.
        expected: not needed here.
        labelling: not needed here.

    Raises:
        ArtifactError: with how far they are apart, and how many images are in another class though not by a tie.
    """
    ours, theirs = (found[name].astype(int) for name in ("micro", "litert"))  # [N, classes]
    apart = int(np.abs(ours - theirs).max())
    moved = ours.argmax(-1) != theirs.argmax(-1)
    lead = theirs.max(-1) - np.take_along_axis(theirs, ours.argmax(-1)[:, None], -1)[:, 0]
    if apart > APART or (moved & (lead > 1)).any():
        raise parity.ArtifactError(
            f"{NAME}: expected LiteRT's answers within {APART} of 256 steps and the same first class, received a "
            f"difference of {apart} and {int(moved.sum())} of {len(moved)} images in another class; not published"
        )


def figures(path: Path) -> dict[str, int]:
    """Returns what `results.json` has of a written folder besides its size."""
    facts = json.loads((path / FACTS).read_text(encoding="utf-8"))
    return {name: facts[name] for name in ("flash_bytes", "arena_bytes")}


def _end(tensor: Any) -> dict[str, Any]:
    """Returns shape, type and quantization of an input or an output."""
    return {
        "shape": list(map(int, tensor.shape)),
        "type": flatbuffer_utils.type_to_name(tensor.type).lower(),
        "scale": float(tensor.quantization.scale[0]),
        "zero_point": int(tensor.quantization.zeroPoint[0]),
    }
