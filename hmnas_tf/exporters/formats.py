"""What can be exported, and what a user asks for with it.

Add an exporter by a line in `EXPORTERS`, and by one in `FORMATS` for those that ask for it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hmnas_tf.exporters import contract, keras_model, litert, micro, onnx_model, parity, saved_model, web
from hmnas_tf.exporters.contract import Cargo, Labelling

FORMS = ("trainable", "folded", "padded")


@dataclasses.dataclass(frozen=True)
class Exporter:
    """One artifact.

    Attributes:
        file_name: its place below the model folder.
        write: called with (cargo, path, check); calls check before the artifact gets its name and returns the path it
            published.
        runtime: the file of `hmnas_tf/runtimes` that runs it, or the path of a Python file with a function `load`.
        purpose: what it is for, in a few words.
        form: of the network that it is made of, one of `FORMS`.
        tolerance: largest difference of a logit from the model's over the largest logit; None judges by test error.
        compare: called with (what else the runtime found, the model's logits of the images it showed, labelling).
        missing: messages about packages that are not installed; [] when it can be written here.
        value_bytes: of an activation, while it runs.
        image_bytes: of a value of the image that it is given.
        figures: called with what was written; returns what `results.json` has of it besides.
        suits: called with a labelling; raises ValueError if it cannot be written for such a network.
        shown_by: a command that shows it to a person, with `{path}` for its place; "" if there is none.
    """

    file_name: str
    write: Callable[[Cargo, Path, contract.Check], Path]
    runtime: str
    purpose: str
    form: str = "folded"
    tolerance: float | None = parity.TOLERANCE
    compare: Callable[[Mapping[str, np.ndarray], np.ndarray, Labelling], None] = lambda *arguments: None
    missing: Callable[[], list[str]] = list
    value_bytes: int = 4
    image_bytes: int = 4
    figures: Callable[[Path], dict[str, int]] = lambda path: {}
    suits: Callable[[Labelling], None] = lambda labelling: None
    shown_by: str = ""


def artifacts_of(formats: Iterable[str], quantize: Iterable[str]) -> list[str]:
    """Returns the names of the artifacts, keys of `EXPORTERS`, that are asked for.

    Args:
        formats: keys of `FORMATS`.
        quantize: words of `QUANTIZATIONS`; `int8` adds the 8-bit form of every format that has one.

    Raises:
        ValueError: on an unknown word, or if no format has an 8-bit form.
    """
    formats, quantize = list(dict.fromkeys(formats)), list(quantize)
    for flag, words, known in (("formats", formats, FORMATS), ("quantize", quantize, QUANTIZATIONS)):
        unknown = [word for word in words if word not in known]
        if unknown or not words:
            raise ValueError(
                f"{flag}: expected some of {', '.join(sorted(known))}, received {', '.join(unknown) or 'nothing'}"
            )
    quantized = []
    for word in quantize:
        added = [QUANTIZATIONS[word][name] for name in formats if name in QUANTIZATIONS[word]]
        if word != "none" and not added:
            raise ValueError(
                f"quantize={word}: expected one of {', '.join(sorted(QUANTIZATIONS[word]))} among the formats, "
                f"received {', '.join(formats)}"
            )
        quantized += added
    return [artifact for name in formats for artifact in FORMATS[name]] + quantized


def missing_requirements(artifacts: Iterable[str]) -> list[str]:
    """Says before a training of days whether its artifacts can be written at the end; imports nothing.

    What has to be fetched is fetched now: there may be no network at the end.

    Args:
        artifacts: keys of `EXPORTERS`.

    Returns:
        One-line messages with the command that installs what is missing; [] when nothing is.
    """
    return list(dict.fromkeys(message for name in artifacts for message in EXPORTERS[name].missing()))


def require_suitable(artifacts: Iterable[str], labelling: Labelling) -> None:
    """Refuses artifacts, keys of `EXPORTERS`, that cannot be written for the images of a data set.

    Raises:
        ValueError: naming what is expected of the images.
    """
    for name in artifacts:
        EXPORTERS[name].suits(labelling)


_ONNX: dict[str, Any] = {"form": "padded", "runtime": "onnx_file", "missing": onnx_model.missing_packages}
_LITERT = "litert_file"

EXPORTERS: dict[str, Exporter] = {
    "keras": Exporter(
        "derived.keras",
        keras_model.export_keras,
        "keras_file",
        "Keras, also to train it further",
        form="trainable",
    ),
    "keras_folded": Exporter(
        "derived_folded.keras", keras_model.export_keras, "keras_file", "Keras, to use it"
    ),
    "saved_model": Exporter(
        "saved_model",
        saved_model.export_saved_model,
        "saved_model_folder",
        "TF Serving and TensorFlow",
        compare=saved_model.compare,
    ),
    "onnx": Exporter(
        "model.onnx", onnx_model.export_onnx, purpose="onnxruntime on servers, any batch size", **_ONNX
    ),
    "onnx_mobile": Exporter(
        "model_mobile.onnx",
        functools.partial(onnx_model.export_onnx, batch=1),
        purpose="onnxruntime on phones, one image at a time",
        **_ONNX,
    ),
    "onnx_int8": Exporter(
        "model_int8.onnx",
        onnx_model.export_int8,
        purpose="onnxruntime with 8-bit weights and activations",
        tolerance=None,
        value_bytes=1,
        **_ONNX,
    ),
    "litert": Exporter(
        "model.tflite", litert.export_litert, _LITERT, "LiteRT on phones, one image at a time"
    ),
    "litert_fp16": Exporter(
        "model_fp16.tflite",
        functools.partial(litert.export_litert, precision=litert.half),
        _LITERT,
        "LiteRT with 16-bit weights",
        tolerance=parity.HALF_TOLERANCE,
    ),
    "litert_int8": Exporter(
        "model_int8.tflite",
        functools.partial(litert.export_litert, precision=litert.int8),
        _LITERT,
        "LiteRT with 8-bit weights and activations",
        tolerance=None,
        value_bytes=1,
    ),
    "micro": Exporter(
        "micro",
        micro.export_micro,
        "micro_folder",
        "microcontrollers, as a file and as C",
        tolerance=None,
        compare=micro.compare,
        missing=micro.missing_packages,
        value_bytes=1,
        image_bytes=1,
        figures=micro.figures,
    ),
    "web": Exporter(
        "web",
        web.export_web,
        "web_folder",
        "a page that classifies pictures in a browser",
        form="padded",
        compare=web.compare,
        missing=web.missing,
        suits=web.require_pictures,
        shown_by="python -m http.server --directory {path}",
    ),
}
FORMATS: dict[str, tuple[str, ...]] = {  # what a user asks for
    "keras": ("keras", "keras_folded"),
    "saved_model": ("saved_model",),
    "onnx": ("onnx", "onnx_mobile"),
    "litert": ("litert", "litert_fp16"),
    "micro": ("micro",),
    "web": ("web",),
}
QUANTIZATIONS: dict[str, dict[str, str]] = {  # what each adds to a format
    "none": {},
    "int8": {"onnx": "onnx_int8", "litert": "litert_int8"},
}
