"""What the house forbids: found by reading the sources, not by running them."""

from __future__ import annotations

import ast
import importlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from hmnas_tf.console.names import NamesOf
from hmnas_tf.runs.choices import CHOICES, LISTS

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "hmnas_tf").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
LONGEST = 260  # lines of a source file
TEST_SHARE = 0.6  # lines of tests for each line of source, at least
FORBIDDEN_NAMES = {"base", "common", "helper", "helpers", "misc", "trainer", "util", "utils"}
FORBIDDEN_IMPORTS = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
FORBIDDEN_CALLS = {"__import__", "compile", "eval", "exec"}


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def is_command(path: Path) -> bool:
    """Returns whether a file is a command, or what commands share."""
    return path.stem in ("command_line", "recorded") or "if __name__ == '__main__':" in ast.unparse(
        tree(path)
    )


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def called(path: Path) -> set[str]:
    """Returns the plain names that are called; `model.compile` is none of them."""
    calls = (node.func for node in ast.walk(tree(path)) if isinstance(node, ast.Call))
    return {function.id for function in calls if isinstance(function, ast.Name)}


def source_id(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


each_source = pytest.mark.parametrize("path", SOURCES, ids=source_id)


@each_source
def test_nothing_runs_code_from_data(path):
    assert not called(path) & FORBIDDEN_CALLS
    assert not {name.split(".")[0] for name in imported(path)} & FORBIDDEN_IMPORTS
    assert "allow_pickle=True" not in path.read_text(encoding="utf-8")


@each_source
def test_only_commands_print(path):
    assert is_command(path) or "print" not in called(path)


@each_source
def test_only_commands_know_flags(path):
    assert is_command(path) or not any(name.startswith("absl.flags") for name in imported(path))


@each_source
def test_no_bare_except_and_no_assert(path):
    nodes = list(ast.walk(tree(path)))
    assert not [node.lineno for node in nodes if isinstance(node, ast.ExceptHandler) and node.type is None]
    assert not [node.lineno for node in nodes if isinstance(node, ast.Assert)]


@each_source
def test_files_are_short_and_named_for_what_they_do(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST
    assert not set(re.split(r"_+", path.stem)) & FORBIDDEN_NAMES


@each_source
def test_files_say_what_they_are(path):
    assert ast.get_docstring(tree(path)) or not tree(path).body, "expected a docstring of the module"


def weight(paths: list[Path]) -> int:
    lines = (line.strip() for path in paths for line in path.read_text(encoding="utf-8").splitlines())
    return sum(1 for line in lines if line and not line.startswith("#"))


def test_tests_weigh_enough():
    share = weight(TESTS) / weight(SOURCES)
    assert share >= TEST_SHARE, f"{share:.2f} lines of tests a line of source"


def test_the_top_level_holds_what_belongs_there():
    ours = {
        "hmnas_tf",
        "docs",
        "flags",
        "tools",
        "tests",
        "BUILD",
        "pyproject.toml",
        "README.md",
        "CONTRIBUTING.md",
    }
    ours |= {"CHANGELOG.md", "LICENSE", "MODULE.bazel", "WORKSPACE.bazel"}
    made = {"runs", "build", "dist", "hmnas_tf.egg-info", "MODULE.bazel.lock"}  # ignored by git
    visible = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert ours <= visible
    if "TEST_SRCDIR" not in os.environ:  # Bazel has files of its own beside them
        assert not {name for name in visible - ours - made if not name.startswith("bazel-")}


def test_every_vocabulary_of_choices_is_a_literal_dictionary():
    """Adding one is a line in one file; flags read the names from there, without loading it."""
    read = {name: known for name, known in (CHOICES | LISTS).items() if isinstance(known, NamesOf)}
    assert len(read) >= 8
    for known in read.values():
        dictionary = getattr(importlib.import_module(known.module), known.symbol)
        assert known._read() == list(dictionary)
