"""All variables of a network in one file, exactly."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hmnas_tf.storage import atomic

if TYPE_CHECKING:
    import keras

DIGEST_BYTES = hashlib.sha256().digest_size


def save_variables(path: Path, variables: Sequence[keras.Variable]) -> None:
    """Writes the values of `variables`, in order, atomically: an NPZ archive and its SHA-256."""
    archive = io.BytesIO()
    np.savez(archive, **{f"{i:05d}": variable.numpy() for i, variable in enumerate(variables)})
    content = archive.getvalue()
    atomic.write_bytes(path, content + hashlib.sha256(content).digest())


def load_variables(path: Path, variables: Sequence[keras.Variable]) -> None:
    """Gives `variables` the values that `save_variables` wrote; all or none of them.

    Raises:
        ValueError: if the file cannot be read, is damaged or holds other variables.
    """
    values = read_arrays(path)
    expected = [tuple(variable.shape) for variable in variables]
    if [value.shape for value in values] != expected:
        raise ValueError(
            f"{path} holds {len(values)} arrays that are not this network's {len(expected)} variables: it is of "
            "another version or other settings. Start again in a new workdir."
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def read_arrays(path: Path) -> list[np.ndarray]:
    """Returns the values that `save_variables` wrote, in order.

    Raises:
        ValueError: if the file cannot be read or is damaged.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error}): remove its stage from results.json.") from error
    content, digest = data[:-DIGEST_BYTES], data[-DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        raise ValueError(f"{path} cannot be read (it is damaged): remove it and its stage from results.json.")
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return [archive[name] for name in sorted(archive.files)]
