"""What TF Serving reads beside a graph: warm-up requests in each version, and the server's own configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from hmnas_tf.exporters.contract import INPUT_NAME, Labelling
from hmnas_tf.runtimes.saved_model_folder import WARMUP
from hmnas_tf.runtimes.serving_requests import CLASSIFY, example, prediction_log
from hmnas_tf.storage import atomic

MODEL = "hmnas"  # what clients call the model
# A server fills a batch up to one of these, and has run each of them before it takes requests.
BATCH_SIZES = (1, 8, 32)

MODELS = f"""\
# docker run -p 8500:8500 -p 8501:8501 -v "$PWD/model/saved_model:/models/{MODEL}" -v "$PWD/model/serving:/serving" \\
#   tensorflow/serving --model_config_file=/serving/models.config --enable_batching \\
#   --batching_parameters_file=/serving/batching.config --monitoring_config_file=/serving/monitoring.config
model_config_list {{
  config {{
    name: "{MODEL}"
    base_path: "/models/{MODEL}"
    model_platform: "tensorflow"
    model_version_policy {{ latest {{ num_versions: 1 }} }}
  }}
}}
"""
BATCHING = f"""\
max_batch_size {{ value: {BATCH_SIZES[-1]} }}
batch_timeout_micros {{ value: 2000 }}
max_enqueued_batches {{ value: 100 }}
num_batch_threads {{ value: 2 }}
{"".join(f"allowed_batch_sizes: {size}{chr(10)}" for size in BATCH_SIZES)}"""
MONITORING = """\
# Needs --rest_api_port, which the image of TF Serving sets.
prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }
"""


def write_configuration(folder: Path) -> None:
    """Writes `models.config`, `batching.config` and `monitoring.config`, text protocol buffers, unless they exist."""
    for name, text in (("models", MODELS), ("batching", BATCHING), ("monitoring", MONITORING)):
        if not (folder / f"{name}.config").exists():  # a user's versions and labels are kept
            atomic.write_text(folder / f"{name}.config", text)


def write_warmup(folder: Path, labelling: Labelling, endpoints: Sequence[str]) -> None:
    """Writes a request for every endpoint and batch size, so that no client waits for a first run.

    Args:
        folder: of the version, not yet published: a server refuses a version with a request that fails.
        labelling: shapes of the images.
        endpoints: names.
    """
    noise = np.random.default_rng(0)
    (folder / WARMUP).parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(folder / WARMUP)) as writer:
        for size in BATCH_SIZES:
            pixels = noise.integers(0, 256, (size, *labelling.image_shape), np.uint8)
            for name in endpoints:
                writer.write(prediction_log(MODEL, name, INPUTS[name](pixels)))


def _encoded(pixels: np.ndarray) -> list[bytes]:
    return [tf.io.encode_png(image).numpy() for image in pixels]


INPUTS: dict[str, Callable[[np.ndarray], dict[str, Any]]] = {
    "serving_default": lambda pixels: {INPUT_NAME: (pixels / 255.0).astype(np.float32)},
    "serving_uint8": lambda pixels: {INPUT_NAME: pixels},
    "serving_bytes": lambda pixels: {"image_bytes": _encoded(pixels)},
    CLASSIFY: lambda pixels: {"inputs": [example(file) for file in _encoded(pixels)]},
}
