"""Whoever meets a public name finds it explained: in README.md or docs/, or by an example that is true."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
from pathlib import Path

import pytest

import hmnas_tf
from hmnas_tf.__main__ import commands

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = "\n".join(
    page.read_text(encoding="utf-8") for page in PAGES if page.name != "flags.md"
)  # which is made of the commands, so that it proves nothing
CODE = re.findall(r"```\w*\n.*?```|`[^`\n]+`", TEXT, re.DOTALL)
# Modules of the search space that the documents send a reader to.
SPACE = sorted(set(re.findall(r"\bhmnas_tf\.space\.(\w+)", TEXT)))
SOURCES = sorted((ROOT / "hmnas_tf").rglob("*.py"))
# Those of layers run in tests/layers/test_examples.py, one by one.
WITH_EXAMPLES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in SOURCES
    if "    >>> " in path.read_text(encoding="utf-8") and path.parent.name != "layers"
]


def in_documents(name: str) -> bool:
    """Returns whether a name stands in the code of a document, in a block or between backticks."""
    return any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", code) for code in CODE)


def has_example(symbol: object) -> bool:
    return ">>> " in (inspect.getdoc(symbol) or "")


def of_space() -> list:
    found = []
    for name in SPACE:
        module = importlib.import_module(f"hmnas_tf.space.{name}")
        symbols = {
            key: value
            for key, value in vars(module).items()
            if (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == module.__name__
        }
        found += [pytest.param(value, id=f"{name}.{key}") for key, value in symbols.items() if key[0] != "_"]
    return found


def test_the_documents_send_to_the_search_space():
    assert len(of_space()) > 10
    assert {"darts_form", "genotype", "topology"} <= set(SPACE)


@pytest.mark.parametrize("name", sorted(hmnas_tf.__all__))
def test_what_the_package_offers_is_in_the_documents(name):
    assert in_documents(f"hmnas_tf.{name}"), f"write of hmnas_tf.{name} in README.md or docs/"


@pytest.mark.parametrize("name", hmnas_tf.layers.__all__)
def test_every_layer_is_in_the_documents(name):
    """Their examples: tests/layers/test_examples.py."""
    assert in_documents(name), f"write of {name} in docs/layers.md"


@pytest.mark.parametrize("symbol", of_space())
def test_the_search_space_is_explained(symbol):
    assert in_documents(symbol.__name__) or has_example(symbol), (
        f"write of {symbol.__name__} in docs/, or give it an example in its docstring"
    )


@pytest.mark.parametrize("name", commands())
def test_every_command_is_in_the_documents(name):
    assert in_documents(f"hmnas_tf.{name}"), f"show `python -m hmnas_tf.{name}` in README.md or docs/"


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_are_true(name):
    module = importlib.import_module(name)
    said: list[str] = []
    results = [
        doctest.DocTestRunner(verbose=False).run(test, out=said.append)
        for test in doctest.DocTestFinder().find(module)
    ]
    assert sum(result.attempted for result in results) > 0
    assert sum(result.failed for result in results) == 0, "".join(said)
