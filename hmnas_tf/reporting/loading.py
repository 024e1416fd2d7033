"""How each file of a run is loaded, in a few lines, for the model card; a test runs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

CHANNELS = {1: "L", 3: "RGB"}  # Pillow's modes of what files are read as


def loading(results: Mapping[str, Any]) -> str:
    """Returns the programs for the files that are there, as Markdown; they begin where the card lies.

    Args:
        results: of a finished run.
    """
    parts = [_picture(results["dataset"])]
    for name, (title, text) in PROGRAMS.items():
        if name in results["artifacts"]:
            path = results["artifacts"][name]["path"].removeprefix("model/")
            parts.append(f"{title}:\n\n{fenced(text(path))}")
    return "\n".join(parts)


def fenced(text: str, language: str = "python") -> str:
    """Returns a block of code in Markdown."""
    return f"```{language}\n{text.strip()}\n```\n"


def _picture(dataset: Mapping[str, Any]) -> str:
    """Returns what makes `images` of a picture, in the way of training."""
    height, width, channels = dataset["image_shape"]
    normal = f"((pixels / 255 - {_numbers(dataset['mean'])}) / {_numbers(dataset['std'])}).astype('float32')"
    if channels not in CHANNELS:
        return (
            f"Input: `images`, float32 [N, {height}, {width}, {channels}], which is `{normal}` of pixels from 0 to "
            "255.\n"
        )
    fitted = f"ImageOps.fit(picture, ({width}, {height}), Image.Resampling.BILINEAR)"
    if resized := dataset.get("resized"):
        left, top = (resized - width) // 2, (resized - height) // 2
        box = f"({left}, {top}, {left + width}, {top + height})"
        fitted = f"ImageOps.fit(picture, ({resized}, {resized}), Image.Resampling.BILINEAR).crop({box})"
    if height != width:
        fitted = f"picture.resize(({width}, {height}), Image.Resampling.BILINEAR)"
    return "A picture becomes `images`, float32 [1, height, width, channels]:\n\n" + fenced(f"""
import numpy as np
from PIL import Image, ImageOps

picture = ImageOps.exif_transpose(Image.open("picture.png")).convert("{CHANNELS[channels]}")
pixels = np.asarray({fitted}).reshape(1, {height}, {width}, {channels})
images = {normal}
""")


def _numbers(values: Sequence[float]) -> str:
    """Returns a number a channel, in short where one is enough."""
    return repr(list(values)) if len(set(values)) > 1 else repr(values[0])


def _keras(path: str) -> str:
    return f"""
import json, zipfile
import keras

network = keras.models.load_model({path!r})
names = json.loads(zipfile.ZipFile({path!r}).read("labelling.json"))["class_names"]
logits = keras.ops.convert_to_numpy(network(images, training=False))
print(names[int(logits[0].argmax())])
"""


def _onnx(path: str) -> str:
    return f"""
import json
import onnxruntime

session = onnxruntime.InferenceSession({path!r}, providers=["CPUExecutionProvider"])
names = json.loads(session.get_modelmeta().custom_metadata_map["class_names"])
(logits,) = session.run(["logits"], {{"image": images}})
print(names[int(logits[0].argmax())])
"""


def _saved_model(path: str) -> str:
    return f"""
import tensorflow as tf

model = tf.saved_model.load({path!r})
found = model.signatures["serving_default"](image=tf.constant(images))
print(found["label"].numpy()[0].decode())
"""


def _litert(path: str) -> str:
    return f"""
import json, zipfile
from ai_edge_litert.interpreter import Interpreter

names = json.loads(zipfile.ZipFile({path!r}).read("labelling.json"))["class_names"]
logits = Interpreter({path!r}).get_signature_runner()(image=images)["logits"]
print(names[int(logits[0].argmax())])
"""


PROGRAMS = {  # artifacts: what loads them, and a program, given the place of the file
    "keras_folded": ("Keras, on any of its backends", _keras),
    "onnx": ("onnxruntime", _onnx),
    "saved_model": ("TensorFlow", _saved_model),
    "litert": ("LiteRT", _litert),
}
