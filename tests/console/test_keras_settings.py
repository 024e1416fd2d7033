"""Keras on another backend is refused before anything is loaded, wherever that is written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from hmnas_tf.console.keras_settings import require_tensorflow

ROOT = Path(__file__).parents[2]


@pytest.fixture
def unloaded(monkeypatch, tmp_path) -> Path:
    """Keras is not loaded yet; returns its folder."""
    monkeypatch.setitem(sys.modules, "keras", types.ModuleType("keras"))
    for name in ("KERAS_BACKEND", "KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("text", [None, "{}", "{", '{"backend": "tensorflow", "floatx": "float64"}'])
def test_tensorflow_is_the_default(text, unloaded):
    if text is not None:
        (unloaded / "keras.json").write_text(text)
    require_tensorflow()


@pytest.mark.parametrize("name", ["jax", "torch", "numpy", "openvino", "theano"])
def test_another_backend_is_refused(name, unloaded, monkeypatch):
    (unloaded / "keras.json").write_text(json.dumps({"backend": name}))
    with pytest.raises(
        ValueError, match=f"received '{name}' from .*keras.json: set .*KERAS_BACKEND=tensorflow"
    ):
        require_tensorflow()
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    require_tensorflow()
    monkeypatch.setenv("KERAS_BACKEND", name)
    with pytest.raises(ValueError, match=f"received '{name}' from the environment variable KERAS_BACKEND"):
        require_tensorflow()


def test_keras_that_is_loaded_counts(monkeypatch, unloaded):
    loaded = types.SimpleNamespace(config=types.SimpleNamespace(backend=lambda: "torch"))
    monkeypatch.setitem(sys.modules, "keras", loaded)
    with pytest.raises(ValueError, match="received 'torch' from Keras, which is loaded already"):
        require_tensorflow()


def test_settings_that_are_none_are_told(unloaded):
    (unloaded / "keras.json").write_text("[]")
    with pytest.raises(ValueError, match="received a list: remove the file"):
        require_tensorflow()


@pytest.mark.parametrize("name", ["KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH"])
def test_what_would_end_training_early_is_refused(name, unloaded, monkeypatch):
    monkeypatch.setenv(name, "1")
    with pytest.raises(ValueError, match=f"expected no {name}, received '1'"):
        require_tensorflow()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["search", "predict"])
def test_a_command_says_so_in_one_line(command, tmp_path):
    environment = os.environ | {"KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT)}
    images = ["--images=none.png"] if command == "predict" else []
    process = subprocess.run(
        [sys.executable, "-m", f"hmnas_tf.{command}", f"--workdir={tmp_path / 'run'}", *images],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 2
    (line,) = process.stderr.splitlines()
    assert line.startswith(f"hmnas_tf.{command}: expected Keras on the backend 'tensorflow', received 'jax'")
    assert not (tmp_path / "run").exists()
