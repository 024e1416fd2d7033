"""Which run of MLflow a folder is, and what files of it are there: `mlflow.json` in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hmnas_tf.storage import atomic

STATE = "mlflow.json"


def read_state(folder: Path, uri: str) -> dict[str, Any]:
    """Returns what is known of a folder in a store, at least the store's address.

    Raises:
        ValueError: if the file cannot be read.
    """
    path = folder / STATE
    try:
        state = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return state if state.get("uri") == uri else {"uri": uri}
    except (ValueError, AttributeError) as error:
        raise ValueError(
            f"{path} cannot be read ({error}): remove it to begin another run of MLflow."
        ) from error


def write_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Writes what is known of a folder in a store, atomically."""
    atomic.write_json(folder / STATE, state)
