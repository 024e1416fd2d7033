"""`.keras`: loads wherever Keras 3 is installed, to be used or trained further."""

from __future__ import annotations

import inspect
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import keras

from hmnas_tf.exporters import contract
from hmnas_tf.exporters.contract import Cargo
from hmnas_tf.runtimes.archive import LABELLING
from hmnas_tf.storage import atomic

CONFIGURATION = "config.json"  # its name in the archive


def export_keras(cargo: Cargo, path: Path, check: contract.Check) -> Path:
    """Saves the model as a `.keras` file that needs nothing of this project to load.

    Keras' format has no place for the class names, so they lie in the archive as `labelling.json`, which Keras
    ignores. An optimizer is left out: it would triple the file. Keras stores what it puts into the archive as it is;
    here it is compressed, since most of a small network's file is text. Keras 3.6 and newer load it, because entries
    are left out that say nothing, and of which older versions do not know some.

    Args:
        cargo: what to save.
        path: a name that ends in `.keras`; a file that exists is replaced atomically.
        check: called with the finished file before it gets its name.

    Returns:
        `path`.

    Raises:
        ArtifactError: from `check`; `path` is then unchanged.
    """
    with atomic.replacing(path) as temporary, tempfile.TemporaryDirectory() as folder:
        plain = Path(folder, path.name)
        _without_optimizer(cargo.model).save(plain)
        with (
            zipfile.ZipFile(plain) as source,
            zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as target,
        ):
            for name in source.namelist():
                content = source.read(name)
                target.writestr(name, _telling(content) if name == CONFIGURATION else content)
            target.writestr(LABELLING, cargo.labelling.to_json())
        check(temporary)
    return path


def _telling(configuration: bytes) -> str:
    """Returns the configuration of a model without the entries of its layers that make no difference."""
    model = json.loads(configuration)
    for layer in model["config"]["layers"]:
        kind = getattr(keras.layers, layer["class_name"], None) if layer["module"] == "keras.layers" else None
        if kind is not None:
            layer["config"] = {k: v for k, v in layer["config"].items() if _tells(kind, k, v)}
    return json.dumps(model)


def _tells(kind: type[keras.Layer], name: str, value: Any) -> bool:
    """Whether an entry says more than what a layer is by default; weights come from the file, not initializers."""
    if name.endswith("_initializer"):
        return False
    parameter = inspect.signature(kind).parameters.get(name)
    default = parameter.default if parameter else None  # others are Keras' own for every layer
    if value is None or value is False:
        return bool(default)
    own = (
        kind.from_config.__func__ is not keras.layers.Dropout.from_config.__func__
    )  # it may insist on numbers
    return own or value != default


def _without_optimizer(model: keras.Model) -> keras.Model:
    if not model.compiled:
        return model
    bare = type(model).from_config(model.get_config())
    bare.set_weights(model.get_weights())
    return bare
