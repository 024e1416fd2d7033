"""What `import hmnas_tf` offers has types: a checker sees the names, their arguments and their results."""

from __future__ import annotations

import ast
import importlib
import inspect
import tomllib
from pathlib import Path

import keras
import pytest

import hmnas_tf
from hmnas_tf import algorithm

ROOT = Path(__file__).parents[2]
STUB = ast.parse((ROOT / "hmnas_tf" / "__init__.pyi").read_text(encoding="utf-8"))
LAYERS = sorted(name for name in hmnas_tf.layers.__all__ if inspect.isclass(getattr(hmnas_tf.layers, name)))


def test_the_stub_names_what_the_package_loads_and_from_the_same_places():
    places = {
        alias.asname: node.module
        for node in STUB.body
        if isinstance(node, ast.ImportFrom) and node.module != "typing"
        for alias in node.names
    }
    assert places == hmnas_tf._PLACES | {"layers": "hmnas_tf"}
    assert set(places) == set(hmnas_tf.__all__)
    declared = {node.target.id for node in STUB.body if isinstance(node, ast.AnnAssign)}
    assert declared == {"__version__"}


def test_the_mark_and_the_stub_are_installed():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for name in settings["tool"]["setuptools"]["package-data"]["hmnas_tf"]:
        assert (ROOT / "hmnas_tf" / name).is_file()
    assert {"py.typed", "__init__.pyi"} == set(settings["tool"]["setuptools"]["package-data"]["hmnas_tf"])


@pytest.mark.parametrize("name", sorted(set(hmnas_tf.__all__) - {"layers"}))
def test_functions_and_records_say_what_they_take_and_return(name):
    offered = getattr(hmnas_tf, name)
    signature = inspect.signature(offered)
    assert len(signature.parameters) > 2
    assert inspect.isclass(offered) or signature.return_annotation not in ("Any", inspect.Signature.empty)
    for parameter in signature.parameters.values():
        assert parameter.annotation not in ("Any", inspect.Parameter.empty), parameter


def test_search_says_it_also_after_the_command_of_its_name_was_imported():
    importlib.import_module("hmnas_tf.search")  # takes the function's place in the package
    assert inspect.signature(hmnas_tf.search) == inspect.signature(algorithm.search)


@pytest.mark.parametrize("name", LAYERS)
def test_constructors_of_layers_are_typed(name):
    layer = getattr(hmnas_tf.layers, name)
    assert issubclass(layer, keras.layers.Layer)
    for parameter in list(inspect.signature(layer.__init__).parameters.values())[1:]:
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD:  # what every Keras layer takes
            assert parameter.annotation is not inspect.Parameter.empty, parameter
