"""`.keras`: the trainable artifact, which loads wherever Keras 3 is installed."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import keras

from hmnas_tf import atomic
from hmnas_tf.exporters import contract, parity

LABELLING_MEMBER = "labelling.json"


def save_keras(
    model: keras.Model,
    path: str | os.PathLike,
    labelling: contract.Labelling | None = None,
    check: parity.Check | None = None,
) -> Path:
    """Saves the model as a `.keras` file that needs nothing of this project to load.

    Keras' format has no place for the class names, so they lie in the archive as `labelling.json`, which Keras
    ignores. An optimizer is left out: it would triple the file.

    Args:
        model: stock layers, float32; input `image` [None, H, W, C], output logits [None, classes].
        path: a name that ends in `.keras`; a file that exists is replaced atomically.
        labelling: written into the archive when given.
        check: called with the finished file before it gets its name; by default it is reloaded and compared.

    Returns:
        `path`.

    Raises:
        ValueError: when the model cannot be exported faithfully, or the name does not end in `.keras`.
        parity.ParityError: when the file does not compute what the model computes; `path` is then unchanged.
    """
    path = Path(path)
    if path.suffix != ".keras":
        raise ValueError(f"expected a file name that ends in .keras, received {path.name!r}")
    contract.require_exportable(model, labelling)
    check = check or parity.noise_check("keras", model, load_keras)
    with atomic.replacing(path) as temporary:
        _without_optimizer(model).save(temporary)
        if labelling is not None:
            with zipfile.ZipFile(temporary, "a") as archive:
                archive.writestr(LABELLING_MEMBER, labelling.to_json())
        check(temporary)
    return path


def load_keras(path: str | os.PathLike) -> parity.Predict:
    """Loads a `.keras` file as its users do, without running code from it.

    Args:
        path: the file.

    Returns:
        A function from normalised images float32 [B, H, W, C] to logits float32 [B, classes].
    """
    return parity.predict_function(keras.saving.load_model(path, compile=False, safe_mode=True))


def _without_optimizer(model: keras.Model) -> keras.Model:
    if not model.compiled:
        return model
    bare = type(model).from_config(model.get_config())
    bare.set_weights(model.get_weights())
    return bare
