"""All variables of a network in one file, exactly."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from hmnas_tf import atomic


def save_variables(path: Path, variables: Sequence[keras.Variable]) -> None:
    """Writes the values of `variables`, in order, atomically."""
    with atomic.replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **{f"{i:05d}": variable.numpy() for i, variable in enumerate(variables)})


def load_variables(path: Path, variables: Sequence[keras.Variable]) -> None:
    """Gives `variables` the values that `save_variables` wrote; all or none of them.

    Raises:
        ValueError: if the file cannot be read or holds other variables.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            values = [file[name] for name in sorted(file.files)]
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(
            f"{path} cannot be read ({error}): remove it and its stage in results.json."
        ) from error
    expected = [tuple(variable.shape) for variable in variables]
    if [value.shape for value in values] != expected:
        raise ValueError(
            f"{path} holds {len(values)} arrays that are not this network's {len(expected)} variables."
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
