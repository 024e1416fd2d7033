"""A model as C, for programs that have no files: `model.h` and `model.c`, which C++ takes too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

A_LINE = 16  # numbers
PLAIN = frozenset(
    b" !#$%&'()*+,-./0123456789:;<=>@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_`abcdefghijklmnopqrstuvwxyz{|}~"
)

HEADER = """\
/* A network of hmnas_tf for TensorFlow Lite for Microcontrollers, with 8 bits from its input to its output.

   An input of {height} x {width} x {channels} values, channels last, of which one is made of a pixel 0..255 by
       input = hmnas_input_of_pixel[channel][pixel];
   which is round((pixel / 255 - mean) / deviation / HMNAS_INPUT_SCALE) + HMNAS_INPUT_ZERO_POINT within -128..127, with
{normalisation}.
   The largest of the {classes} outputs is the class, whose name is hmnas_class_names[class]; a logit is
       (output - HMNAS_OUTPUT_ZERO_POINT) * HMNAS_OUTPUT_SCALE.

   The {count} operators to register with a tflite::MicroMutableOpResolver<HMNAS_OPERATORS>:
{operators}

   HMNAS_ARENA_BYTES is what the interpreter needed on a machine of 64 bits with the kernels of reference. Kernels
   that are made for a processor may want room of their own: ask arena_used_bytes() there. */
#ifndef HMNAS_MODEL_H
#define HMNAS_MODEL_H

#include <stdint.h>

#define HMNAS_MODEL_BYTES {bytes}
#define HMNAS_ARENA_BYTES {arena}
#define HMNAS_OPERATORS {count}
#define HMNAS_HEIGHT {height}
#define HMNAS_WIDTH {width}
#define HMNAS_CHANNELS {channels}
#define HMNAS_CLASSES {classes}
#define HMNAS_INPUT_SCALE {input_scale}f
#define HMNAS_INPUT_ZERO_POINT ({input_zero})
#define HMNAS_OUTPUT_SCALE {output_scale}f
#define HMNAS_OUTPUT_ZERO_POINT ({output_zero})

#ifdef __cplusplus
extern "C" {{
#endif

extern const unsigned char hmnas_model[HMNAS_MODEL_BYTES]; /* at a multiple of 16 */
extern const unsigned int hmnas_model_bytes;
extern const char *const hmnas_class_names[HMNAS_CLASSES]; /* in UTF-8 */
extern const int8_t hmnas_input_of_pixel[HMNAS_CHANNELS][256];

#ifdef __cplusplus
}}
#endif

#endif
"""
SOURCE = """\
#include "model.h"

#if defined(__cplusplus)
#define HMNAS_ALIGNED alignas(16)
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define HMNAS_ALIGNED _Alignas(16)
#else
#define HMNAS_ALIGNED __attribute__((aligned(16)))
#endif

const unsigned int hmnas_model_bytes = HMNAS_MODEL_BYTES;

const char *const hmnas_class_names[HMNAS_CLASSES] = {{
{names}
}};

const int8_t hmnas_input_of_pixel[HMNAS_CHANNELS][256] = {{
{table}
}};

HMNAS_ALIGNED const unsigned char hmnas_model[HMNAS_MODEL_BYTES] = {{
{model}
}};
"""


def header(facts: Mapping[str, Any]) -> str:
    """Returns the text of `model.h`.

    Args:
        facts: the content of `micro.json`.
    """
    labelling, (height, width, channels) = facts["labelling"], facts["input"]["shape"][1:]
    pairs = enumerate(zip(labelling["mean"], labelling["std"], strict=True))
    return HEADER.format(
        height=height,
        width=width,
        channels=channels,
        classes=len(labelling["class_names"]),
        count=len(facts["operators"]),
        operators="\n".join(f"       {operator['register']}()" for operator in facts["operators"]),
        normalisation=",\n".join(
            f"       mean {mean!r} and deviation {std!r} of channel {channel}"
            for channel, (mean, std) in pairs
        ),
        bytes=facts["flash_bytes"],
        arena=facts["arena_bytes"],
        input_scale=facts["input"]["scale"],
        input_zero=facts["input"]["zero_point"],
        output_scale=facts["output"]["scale"],
        output_zero=facts["output"]["zero_point"],
    )


def source(facts: Mapping[str, Any], content: bytes, table: np.ndarray) -> str:
    """Returns the text of `model.c`.

    Args:
        facts: the content of `micro.json`.
        content: of the model's file.
        table: the int8 input of every pixel value, [C, 256].
    """
    rows = (f"{{\n{_listed(row)}\n}}" for row in table.tolist())
    names = (f'"{_escaped(name)}"' for name in facts["labelling"]["class_names"])
    return SOURCE.format(names=",\n".join(names), table=",\n".join(rows), model=_listed(content))


def _listed(numbers: Iterable[int]) -> str:
    texts = list(map(str, numbers))
    return ",\n".join(",".join(texts[start : start + A_LINE]) for start in range(0, len(texts), A_LINE))


def _escaped(name: str) -> str:
    """Returns the UTF-8 of a name as C may have it anywhere: quotes, `?` of trigraphs and others as octal numbers."""
    return "".join(chr(byte) if byte in PLAIN else f"\\{byte:03o}" for byte in name.encode())
