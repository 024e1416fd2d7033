"""The files of a folder for microcontrollers, and whether its C code says what the others do."""

import re

import numpy as np

FACTS, HEADER, SOURCE, MODEL = "micro.json", "model.h", "model.c", "model_int8.tflite"
ENTRY = re.compile(r"-?\d+")
TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')


def quantised(images, scale, zero_point):
    """Returns normalised images, float32, as the int8 that a model takes."""
    return np.clip(np.rint(images / np.float32(scale)) + zero_point, -128, 127).astype(np.int8)


def input_of_pixels(facts):
    """Returns the int8 input that is made of each value of a pixel, [C, 256].

    Args:
        facts: the content of `micro.json`.
    """
    mean, std = (np.array(facts["labelling"][name], np.float32)[:, None] for name in ("mean", "std"))
    images = (np.arange(256, dtype=np.float32) / np.float32(255) - mean) / std
    return quantised(images, facts["input"]["scale"], facts["input"]["zero_point"])


def require_source(text, facts, content):
    """Refuses C code that says something else than the other files.

    Raises:
        ValueError: naming what differs.
    """
    model = np.array(_numbers(text, "hmnas_model"), np.uint8).tobytes()
    require_same(f"bytes in {SOURCE}", content, model, show=len)
    names = [_unescaped(name) for name in TEXT.findall(_body(text, "hmnas_class_names"))]
    require_same(f"class names in {SOURCE}", facts["labelling"]["class_names"], names)
    table = input_of_pixels(facts).ravel().tolist()
    require_same(f"inputs of pixels in {SOURCE}", table, _numbers(text, "hmnas_input_of_pixel"), show=len)


def require_same(what, expected, received, show=lambda value: value):
    """Raises ValueError if two values differ, naming them as `show` makes them shorter."""
    if expected != received:
        raise ValueError(f"{what}: expected {show(expected)}, received {show(received)}, which differ")


def _numbers(text, name):
    return list(map(int, ENTRY.findall(_body(text, name))))


def _body(text, name):
    """Returns what stands in the braces behind the definition of a name."""
    found = re.search(rf"\b{name}\[[^=;]*= \{{\n(.*?)\n\}};", text, re.DOTALL)
    if not found:
        raise ValueError(f"{SOURCE}: expected a definition of {name}, received none")
    return found[1]


def _unescaped(text):
    """Returns a string of C, whose bytes other than plain letters stand there as octal numbers."""
    octal = re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), text.encode("ascii"))
    return octal.decode("utf-8")
