"""`.keras`: loads wherever Keras 3 is installed, to be used or trained further."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

import keras

from hmnas_tf.exporters import contract
from hmnas_tf.exporters.contract import Cargo
from hmnas_tf.runtimes.archive import LABELLING
from hmnas_tf.storage import atomic


def export_keras(cargo: Cargo, path: Path, check: contract.Check) -> Path:
    """Saves the model as a `.keras` file that needs nothing of this project to load.

    Keras' format has no place for the class names, so they lie in the archive as `labelling.json`, which Keras
    ignores. An optimizer is left out: it would triple the file. Keras stores what it puts into the archive as it is;
    here it is compressed, since most of a small network's file is text.

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
                target.writestr(name, source.read(name))
            target.writestr(LABELLING, cargo.labelling.to_json())
        check(temporary)
    return path


def _without_optimizer(model: keras.Model) -> keras.Model:
    if not model.compiled:
        return model
    bare = type(model).from_config(model.get_config())
    bare.set_weights(model.get_weights())
    return bare
