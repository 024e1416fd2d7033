"""What a person has set for Keras, known before Keras is loaded (pure Python).

Keras reads `keras.json` in its folder and some environment variables once, when it is loaded. This package computes in
TensorFlow; another backend cannot be exchanged afterwards, so it is refused before anything else. All other settings
are put where they belong by `runs/keras_defaults.py`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

BACKEND = "tensorflow"
SHORTENING = (
    "KERAS_MAX_EPOCHS",
    "KERAS_MAX_STEPS_PER_EPOCH",
)  # fit obeys them and trains less than was asked for


def require_tensorflow() -> None:
    """Refuses Keras on another backend, and what would end every training early.

    Raises:
        ValueError: naming the setting and where it stands.
    """
    name, place = _backend()
    if name != BACKEND:
        raise ValueError(
            f"expected Keras on the backend {BACKEND!r}, received {name!r} from {place}: set the environment variable "
            f"KERAS_BACKEND={BACKEND} before Keras is loaded."
        )
    for variable in SHORTENING:
        if os.environ.get(variable):
            raise ValueError(
                f"expected no {variable}, received {os.environ[variable]!r}: it would end training early. Unset it and "
                "say how long each stage is to be."
            )


def _backend() -> tuple[str, str]:
    """Returns the backend of Keras, and where it is written."""
    config = getattr(sys.modules.get("keras"), "config", None)
    if config is not None:
        return config.backend(), "Keras, which is loaded already"
    if os.environ.get("KERAS_BACKEND"):
        return os.environ["KERAS_BACKEND"], "the environment variable KERAS_BACKEND"
    path = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "keras.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # Keras goes on without a file that it cannot read
        return BACKEND, str(path)
    if not isinstance(settings, dict):
        raise ValueError(
            f"expected settings of Keras as a JSON object in {path}, received a {type(settings).__name__}: remove the "
            "file, Keras writes it anew."
        )
    return str(settings.get("backend", BACKEND)), str(path)
