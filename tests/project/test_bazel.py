"""What Bazel needs agrees with BUILD and pyproject.toml; and Bazel is green and red where it should be."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WRAPPER = ROOT / "tools" / "bazel.sh"
SHIMS = ROOT / "tools" / "bazel4_offline"
MODULE = (ROOT / "MODULE.bazel").read_text(encoding="utf-8")
LABELS = set(re.findall(r"@pypi//(\w+)", (ROOT / "BUILD").read_text(encoding="utf-8")))
LINES = (ROOT / "tools" / "bazel_requirements.txt").read_text(encoding="utf-8").splitlines()
VERSIONS = dict(line.split("==") for line in LINES if not line.startswith("#"))
OTHER_BUILDS = {"torch"}  # its CPU build needs less than others
INSIDE_BAZEL = "TEST_SRCDIR" in os.environ
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")

outside = pytest.mark.skipif(
    INSIDE_BAZEL, reason="Bazel ignores tools/bazel4_offline and does not start itself"
)


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@outside
def test_every_package_of_build_has_an_empty_library_and_the_reverse():
    folders = {path.name for path in (SHIMS / "pypi").iterdir() if path.is_dir()}
    assert folders == LABELS, "a folder with a BUILD file for each @pypi// label of BUILD"
    for name in folders:
        library = " ".join((SHIMS / "pypi" / name / "BUILD").read_text(encoding="utf-8").split())
        assert library == f'py_library( name = "{name}", visibility = ["//visibility:public"], )'


@outside
def test_every_offline_repository_names_itself():
    folders = [path for path in SHIMS.iterdir() if path.is_dir()]
    assert {"pypi", "rules_python"} < {folder.name for folder in folders}
    for folder in folders:
        assert (folder / "WORKSPACE").read_text(encoding="utf-8") == f'workspace(name = "{folder.name}")\n'
        assert (folder / "BUILD").exists()


def test_bazel_does_not_walk_into_the_offline_repositories():
    ignored = (ROOT / ".bazelignore").read_text(encoding="utf-8").split()
    assert {"tools/bazel4_offline", ".venv"} <= set(ignored)


def test_module_names_our_python_and_our_packages():
    assert set(re.findall(r'python_version = "([\d.]+)"', MODULE)) == {"3.11"}
    settings = tomllib.loads(PYPROJECT)
    assert settings["tool"]["ruff"]["target-version"] == "py311"
    assert settings["project"]["requires-python"].startswith(">=3.11,")
    assert 'hub_name = "pypi"' in MODULE
    assert 'requirements_lock = "//:tools/bazel_requirements.txt"' in MODULE
    assert re.findall(r'bazel_dep\(name = "(\w+)"', MODULE) == ["rules_python"]
    assert "NOT TRIED" in MODULE


def test_every_package_of_build_has_the_version_of_pyproject():
    assert list(VERSIONS) == sorted(VERSIONS)
    tested = re.findall(r'^    "([\w.-]+)[=<>~][^"]*", +# (\d[\w.]*\w)', PYPROJECT, re.MULTILINE)
    tested = {canonical(name): version for name, version in tested}
    for name in map(canonical, LABELS):
        assert VERSIONS[name] == tested[name], f"{name} in tools/bazel_requirements.txt"


def test_the_requirements_hold_what_their_packages_need():
    requirements = pytest.importorskip("packaging.requirements")
    installed = {canonical(found.name): found.version for found in importlib.metadata.distributions()}
    missing = set()
    for name, version in VERSIONS.items():
        assert re.fullmatch(r"\d[\w.]*", version), f"{name}: a version without a place to load it from"
        if name in OTHER_BUILDS or installed.get(name) != version:
            continue  # only of these versions is it known what they need
        for line in importlib.metadata.requires(name) or ():
            needed = requirements.Requirement(line)
            wanted = needed.marker is None or needed.marker.evaluate({"extra": ""})
            if wanted and canonical(needed.name) not in VERSIONS:
                missing.add(f"{name} needs {needed.name}")
    assert not missing


def test_what_bazel_reads_names_no_registry_and_no_home_of_a_machine():
    names = [".bazelrc", ".bazelversion", "MODULE.bazel", "WORKSPACE.bazel"]
    ours = [*(ROOT / "tools").glob("bazel*"), *(ROOT / "tools" / "bazel4_offline").rglob("*")]
    files = [*(ROOT / name for name in names), *ours]
    for path in (path for path in files if path.is_file()):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"://\w|pypi\.org|pythonhosted|index-url|npmjs|artifactory", text), path
        assert not re.search(r"(?<![\w.])/(home|root|tmp|work)/", text), path


def test_nothing_of_bazel_is_left_in_the_project():
    assert "build --symlink_prefix=/\n" in (ROOT / ".bazelrc").read_text(encoding="utf-8")
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {"/bazel-*", "/MODULE.bazel.lock"} <= set(ignored)


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    """Environment variables: VENV stands for the packages of this interpreter, `bazel` is looked for in `programs`."""
    program(tmp_path / "venv" / "bin" / "python", f'exec "{sys.executable}" "$@"')
    (tmp_path / "tmp").mkdir()
    path = f"{tmp_path / 'programs'}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"VENV": str(tmp_path / "venv"), "TMPDIR": str(tmp_path / "tmp"), "PATH": path}


def bazel(
    environment: dict[str, str], *arguments: str, wrapper: Path = WRAPPER
) -> subprocess.CompletedProcess:
    return subprocess.run(
        [shutil.which("bash"), str(wrapper), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )


def test_the_wrapper_is_executable_strict_and_valid():
    text = WRAPPER.read_text(encoding="utf-8")
    assert os.access(WRAPPER, os.X_OK)
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "\nset -euo pipefail\n" in text
    assert subprocess.run(["bash", "-n", str(WRAPPER)], capture_output=True).returncode == 0


def test_without_bazel_one_line_says_what_to_install(environment, tmp_path):
    (tmp_path / "programs").mkdir()
    (tmp_path / "programs" / "dirname").symlink_to(shutil.which("dirname"))
    done = bazel(environment | {"PATH": str(tmp_path / "programs")}, "build", "//...")
    assert done.returncode == 2
    assert re.fullmatch(r"tools/bazel\.sh: expected bazel on PATH: install .*bazel-bootstrap\n", done.stdout)


@pytest.mark.parametrize(
    ("arguments", "changes", "words"),
    [
        ([], {}, "expected a command of Bazel"),
        (["build", "//..."], {"VENV": "no_such"}, "run tools/check.sh once"),
    ],
)
def test_other_mistakes_are_one_line_too(environment, tmp_path, arguments, changes, words):
    program(tmp_path / "programs" / "bazel", "echo bazel no_version")
    done = bazel(environment | changes, *arguments)
    assert done.returncode == 2
    assert words in done.stdout
    assert done.stdout.count("\n") == 1


FAKE = """
[ "$1" = --version ] && echo "bazel {version}" && exit
echo "arguments: $*"
for argument; do case $argument in --bazelrc=*) cat "${{argument#*=}}" ;; esac; done
code='import sys, pytest; from importlib.util import find_spec; print(sys.prefix, find_spec("hmnas_tf"))'
echo "python: $(python3 -I -c "$code")"
exit 3
"""


@outside
@pytest.mark.parametrize("version", ["no_version", "4.2.3"])
def test_bazel_4_gets_the_offline_repositories_and_a_python_without_this_project(
    environment, tmp_path, version
):
    program(tmp_path / "programs" / "bazel", FAKE.format(version=version))
    done = bazel(environment, "test", "//:a", "--test_filter=one or two")
    assert done.returncode == 3, done.stdout
    assert "test //:a --test_filter=one or two\n" in done.stdout
    found = dict(re.findall(r'^build "--override_repository=(\w+)=(.*)"$', done.stdout, re.MULTILINE))
    assert found == {path.name: str(path) for path in SHIMS.iterdir() if path.is_dir()}
    python = done.stdout.split("python: ")[1]
    assert python.startswith(str(tmp_path / "tmp"))
    assert python.endswith(" None\n"), "the project must not be importable but by deps"
    assert not list((tmp_path / "tmp").iterdir()), "nothing stays behind"


def test_newer_versions_of_bazel_get_the_arguments_only(environment, tmp_path):
    program(tmp_path / "programs" / "bazel", FAKE.format(version="8.4.2"))
    done = bazel(environment, "test", "//:a")
    assert done.stdout.splitlines()[0] == "arguments: test //:a"
    assert done.returncode == 3


def test_pytest_is_told_where_to_write_and_which_tests_are_wanted(monkeypatch):
    sys.path.insert(0, str(ROOT / "tests" / "project"))
    try:
        import pytest_main
    finally:
        sys.path.pop(0)
    assert pytest_main.options({}) == ["-q", "-p", "no:cacheprovider"]
    options = pytest_main.options({"TEST_TMPDIR": "there", "TESTBRIDGE_TEST_ONLY": "masks"})
    assert options[3:] == ["--basetemp", str(Path("there") / "pytest"), "-k", "masks"]
    codes = {0: (0, 0), 1: (1, 1), 5: (5, 0)}  # of pytest: ours without and with a selection
    for code, expected in codes.items():
        monkeypatch.setattr(pytest_main.pytest, "main", lambda options, code=code: code)
        folder = [str(ROOT / "tests" / "space")]
        received = [pytest_main.main(folder, given) for given in ({}, {"PYTEST_ADDOPTS": "-m slow"})]
        assert tuple(received) == expected


@pytest.mark.parametrize(
    ("check", "programs", "code", "said"),
    [
        (0, ["bazel"], 0, "Bazel with test --config=light //..."),
        (0, [], 0, "WARNING: there is no bazel"),
        (4, ["bazel"], 4, None),
        (0, ["bazel", "red"], 3, "Bazel failed"),
    ],
)
def test_continuous_integration_runs_bazel_or_says_that_it_does_not(tmp_path, check, programs, code, said):
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in ("dirname", "id", "timeout", "bash"):
        (folder / name).symlink_to(shutil.which(name))
    for name in programs:
        program(folder / name, "exit 0")
    program(tmp_path / "tools" / "check.sh", f"exit {check}")
    program(tmp_path / "tools" / "bazel.sh", 'echo "Bazel with $*"; command -v red && exit 3; exit 0')
    (tmp_path / ".ci").mkdir()
    shutil.copy2(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    shutil.copy2(ROOT / "tools" / "pythons.sh", tmp_path / "tools" / "pythons.sh")
    done = bazel(os.environ | {"PATH": str(folder)}, wrapper=tmp_path / ".ci" / "run")
    assert done.returncode == code, done.stdout
    assert said is None or said in done.stdout
    assert ("Bazel with" in done.stdout) == (not check and "bazel" in programs)


@pytest.mark.slow
@outside
def test_bazel_itself_is_green_and_red_where_it_should_be(environment, tmp_path, capsys):
    if not shutil.which("bazel"):
        reason = "Bazel IS NOT TESTED: there is no bazel on PATH (Debian's package bazel-bootstrap)"
        with capsys.disabled():
            sys.stderr.write(f"\nWARNING: {reason}\n")
        pytest.skip(reason)
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in (".ci", "docs", "flags", "hmnas_tf", "tests", "tools"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy2(path, copy)
    environment["BAZEL_ROOT"] = str(tmp_path / "bazel")

    def test_space() -> subprocess.CompletedProcess:
        return bazel(environment, "test", "//:test_space", wrapper=copy / "tools" / "bazel.sh")

    green = test_space()
    assert green.returncode == 0, green.stdout
    assert "1 test passes" in green.stdout
    assert not list(copy.glob("bazel-*"))

    (copy / "tests" / "space" / "test_red.py").write_text("def test_red():\n    assert 1 == 2\n")
    red = test_space()
    assert red.returncode == 3, red.stdout
    assert "test_red - assert 1 == 2" in red.stdout
    (copy / "tests" / "space" / "test_red.py").unlink()

    build = (copy / "BUILD").read_text(encoding="utf-8")
    brings = '        ":commands",\n'  # with them every library
    assert build.count(brings) == 1
    (copy / "BUILD").write_text(build.replace(brings, ""), encoding="utf-8")
    missing = test_space()
    assert missing.returncode == 3, missing.stdout
    assert "No module named 'hmnas_tf'" in missing.stdout
