"""What the page's scripts do to pixels is what TensorFlow and Pillow do: in Node.js, without a browser."""

from __future__ import annotations

import json
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from hmnas_tf.data.augmentation import normalise
from hmnas_tf.data.resizing import fit
from hmnas_tf.exporters.web import PAGE

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="there is no Node.js")

# Pictures come as numbers; of each the script returns the part, its colours, the resized pixels and their normal form.
SCRIPT = f"""
import {{ readFileSync }} from "node:fs";
const {{ central, coloured, normalised, part, resized }} = await import({json.dumps((PAGE / "pixels.js").as_uri())});
const made = JSON.parse(readFileSync(0)).map(({{ data, height, width, shape, side, mean, std }}) => {{
  const cut = part(height, width, shape), rows = [];
  for (let y = cut.top; y < cut.top + cut.height; y++) {{
    rows.push(data.slice(4 * (y * width + cut.left), 4 * (y * width + cut.left + cut.width)));
  }}
  const colours = coloured({{ data: rows.flat(), height: cut.height, width: cut.width }}, shape[2]);
  const small = central(resized(colours, side ? [side, side] : shape), shape);
  return [colours, small].map((picture) => Array.from(picture.data)).concat([Array.from(normalised(small, mean, std))]);
}});
console.log(JSON.stringify(made));
"""
SIZES = {  # of a picture, and of a network's input
    "smaller": ((37, 53), (8, 8)),
    "the same": ((8, 8), (8, 8)),
    "larger": ((5, 7), (32, 32)),
    "half": ((64, 64), (32, 32)),
    "much smaller": ((301, 97), (8, 8)),
    "no square": ((50, 31), (8, 20)),
    "one pixel": ((1, 1), (9, 9)),
    "a line": ((1, 200), (4, 4)),
    "by a little": ((33, 35), (32, 32)),
    "a thumbnail": ((224, 224), (32, 32)),
    "with a border": ((50, 31), (14, 14)),
}
RESIZED = {"with a border": 16}  # before the middle is cut out


@pytest.fixture(scope="module")
def made():
    """Pictures by size and channels, and what the scripts made of them, in one process."""
    random, pictures, questions = np.random.default_rng(0), {}, []
    for name, ((height, width), size) in SIZES.items():
        for channels in (1, 3):
            rgba = random.integers(0, 256, (height, width, 4), np.uint8)
            pictures[name, channels] = rgba
            questions.append(
                {
                    "data": rgba.ravel().tolist(),
                    "height": height,
                    "width": width,
                    "shape": [*size, channels],
                    "side": RESIZED.get(name, 0),
                    "mean": [0.485, 0.456, 0.406][:channels],
                    "std": [0.229, 0.224, 0.225][:channels],
                }
            )
    done = subprocess.run(
        [NODE, "--input-type=module", "--eval", SCRIPT],
        input=json.dumps(questions),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    return {key: (rgba, answer) for (key, rgba), answer in zip(pictures.items(), answers, strict=True)}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_a_picture_becomes_the_pixels_that_training_would_have_made(size, channels, made):
    rgba, (_, small, numbers) = made[size, channels]
    image = Image.fromarray(rgba[..., :3]).convert("L" if channels == 1 else "RGB")
    pixels = np.asarray(image).reshape(*rgba.shape[:2], channels)
    expected = fit(tf.constant(pixels), *SIZES[size][1], RESIZED.get(size, 0)).numpy()
    np.testing.assert_array_equal(np.reshape(small, expected.shape), expected)
    mean, std = [0.485, 0.456, 0.406][:channels], [0.229, 0.224, 0.225][:channels]
    received = np.reshape(np.float32(numbers), expected.shape)
    np.testing.assert_array_equal(received, normalise(expected, mean, std))


def test_grey_is_pillows(made):
    rgba, (colours, _, _) = made["the same", 1]
    expected = np.asarray(Image.fromarray(rgba[..., :3]).convert("L"))
    np.testing.assert_array_equal(np.reshape(colours, expected.shape), expected)
