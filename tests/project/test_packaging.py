"""pyproject.toml declares what the sources import, with ranges; scripts are what they should be."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import hmnas_tf

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]
DISTRIBUTIONS = {
    "absl": "absl-py",
    "grpc": "grpcio",
    "mlflow": "mlflow-skinny",
    "PIL": "pillow",
    "sklearn": "scikit-learn",
}  # where import and package differ
NOT_DECLARED_BY_THEIR_USERS = {"alembic", "importlib-resources", "sqlalchemy"}


def name_of(requirement: str) -> str:
    return re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-")


def third_party() -> set[str]:
    found = set()
    for path in (ROOT / "hmnas_tf").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            found |= {name.split(".")[0] for name in names}
    found -= {*sys.stdlib_module_names, "hmnas_tf"}
    return {DISTRIBUTIONS.get(name, name).replace("_", "-") for name in found}


def test_what_is_imported_is_declared_and_the_reverse():
    core = {name_of(requirement) for requirement in PROJECT["dependencies"]}
    extras = {
        name_of(requirement) for name in ("litert", "micro", "mlflow", "onnx") for requirement in EXTRAS[name]
    }
    assert core | extras == third_party() | NOT_DECLARED_BY_THEIR_USERS
    assert not core & extras


def test_every_requirement_has_a_range_and_the_installed_version_is_in_it():
    packaging = pytest.importorskip("packaging.requirements")
    for requirement in [*PROJECT["dependencies"], *(r for extra in EXTRAS.values() for r in extra)]:
        parsed = packaging.Requirement(requirement)
        if parsed.name == "hmnas_tf":
            continue
        bounds = {specifier.operator for specifier in parsed.specifier}
        assert bounds in ({"=="}, {">=", "<"}), requirement
        assert "@" not in requirement
        assert parsed.specifier.contains(importlib.metadata.version(parsed.name)), requirement


def test_all_and_test_bring_everything():
    assert EXTRAS["all"] == [f"hmnas_tf[{name}]" for name in sorted(set(EXTRAS) - {"all", "test"})]
    assert "hmnas_tf[all]" in EXTRAS["test"]


def test_the_version_stands_in_one_place():
    assert PROJECT["dynamic"] == ["version"]
    assert PYPROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "hmnas_tf.__version__"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", hmnas_tf.__version__)


def test_files_that_are_no_python_are_in_the_package_and_in_bazels_view():
    package_data = PYPROJECT["tool"]["setuptools"]["package-data"]
    patterns = [f"{name.replace('.', '/')}/{part}" for name, parts in package_data.items() for part in parts]
    others = {
        path
        for path in (ROOT / "hmnas_tf").rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    }
    assert {path for pattern in patterns for path in ROOT.glob(pattern)} == others
    build = (ROOT / "BUILD").read_text(encoding="utf-8")
    assert all(f'"{pattern}"' in build for pattern in patterns)


def test_the_licence_is_apache_2():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert PROJECT["license"] == "Apache-2.0"
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_there_is_no_lock_file():
    names = {path.name for path in ROOT.iterdir()}
    assert not names & {"poetry.lock", "uv.lock", "Pipfile.lock", "pdm.lock", "requirements.txt"}


@pytest.mark.parametrize("name", ["tools/check.sh", ".ci/run"])
def test_a_script_is_executable_strict_and_valid(name):
    path = ROOT / name
    assert os.access(path, os.X_OK)
    text = path.read_text(encoding="utf-8")
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "\nset -euo pipefail\n" in text
    assert subprocess.run(["bash", "-n", str(path)], capture_output=True).returncode == 0


def fake_environment(folder: Path, failing: str = "") -> Path:
    """Makes an environment whose programs only write down how they were called; one of them fails."""
    (folder / "bin").mkdir()
    for name in ("python", "ruff", "lint-imports"):
        program = folder / "bin" / name
        program.write_text(
            f'#!/bin/bash\necho "{name} $*" >> "{folder}/calls"\n[ "{name}" != "{failing}" ]\n'
        )
        program.chmod(0o755)
    return folder


def check(environment: Path, *arguments: str) -> tuple[int, list[str]]:
    process = subprocess.run(
        [str(ROOT / "tools/check.sh"), *arguments],
        env=os.environ | {"VENV": str(environment)},
        capture_output=True,
        cwd=environment,
    )
    return process.returncode, (environment / "calls").read_text().splitlines()


def test_check_installs_once_and_passes_arguments_to_pytest(tmp_path):
    environment = fake_environment(tmp_path)
    code, calls = check(environment, "-k", "masks and edges")
    assert code == 0
    assert [call.split()[0] for call in calls] == ["python", "ruff", "ruff", "lint-imports", "python"]
    assert ".[test]" in calls[0]
    assert calls[-1].endswith("-k masks and edges")
    code, calls = check(environment)
    assert code == 0
    assert sum(".[test]" in call for call in calls) == 1


@pytest.mark.parametrize(("failing", "made"), [("ruff", 2), ("lint-imports", 4)])
def test_check_ends_at_the_first_failure(tmp_path, failing, made):
    code, calls = check(fake_environment(tmp_path, failing))
    assert code != 0
    assert len(calls) == made
