"""Machine, precision, checkpoints, and what is exported."""

from __future__ import annotations

import dataclasses

from hmnas_tf.console.ranges import flag


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Run."""

    evaluate_every: int = flag(
        1, "Epochs between two evaluations on the test split; 0 is only at a stage's end.", low=0
    )
    checkpoint_steps: int = flag(500, "Steps between two checkpoints; every epoch's end has one too.", low=1)
    mlflow: str = flag(
        "",
        "Store of MLflow that the run is logged in: sqlite:///FILE, or http://HOST:PORT of a server; empty is none.",
    )
    replicas: int = flag(0, "GPUs to train on; 0 is all that are visible, or the CPU.", low=0)
    deterministic: bool = flag(
        False, "Take TensorFlow's deterministic operations only, so that reruns are bit-equal on GPUs too."
    )
    recompute: bool = flag(
        False,
        "Compute a supernet edge again on the way back instead of keeping it: less memory, more time.",
    )
    mixed_precision: bool = flag(False, "Compute in bfloat16; masks, alpha, beta and losses stay in float32.")
    formats: tuple[str, ...] = flag(
        ("keras", "saved_model", "onnx", "litert"),
        "Comma list of the formats to export; .keras files are always written, the others are made from them.",
    )
    quantize: tuple[str, ...] = flag(
        ("none",), "Comma list of none and int8; int8 adds files with 8-bit weights and activations."
    )
