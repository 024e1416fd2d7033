"""Where what a run was made of lies now: seen from another directory, or after it was moved."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from hmnas_tf.config import Config
from hmnas_tf.console.paths import PLACES
from hmnas_tf.storage.run_folder import PATHS


def located(config: Config, results: dict[str, Any]) -> Config:
    """Returns a run's settings with relative paths that lead nowhere taken from where the run was started.

    Args:
        config: of the run, as recorded.
        results: content of its `results.json`, which names that directory.
    """
    machine = results.get("machine")
    began = str(machine.get("directory", "")) if isinstance(machine, dict) else ""
    return dataclasses.replace(config, **{name: _seen_from(began, getattr(config, name)) for name in PATHS})


def require_images(config: Config) -> None:
    """Refuses settings of a run whose images are no longer where they were.

    Raises:
        ValueError: saying how to name their new place.
    """
    prefix, place = _parts(config.dataset)
    if prefix and not os.path.exists(place):
        raise ValueError(
            f"the images of this run are not at {place!r}: pass --dataset={prefix}PATH with where they are now; they "
            "are known by their content."
        )


def _seen_from(began: str, value: str) -> str:
    prefix, place = _parts(value)
    other = Path(began, place)
    moved = began and place and not os.path.exists(place) and other.exists()
    return f"{prefix}{other}" if moved else value


def _parts(value: str) -> tuple[str, str]:
    prefix = next((prefix for prefix in PLACES if value.startswith(prefix)), "")
    return prefix, value.removeprefix(prefix)
