"""BUILD says what the sources say: every file once, dependencies exact and downwards, every command, every test."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TREE = ast.parse((ROOT / "BUILD").read_text(encoding="utf-8"))  # Starlark, in the part of it that is Python
FLOORS = (  # from the lowest; a library may depend on those before it in another row
    ("console",),
    ("config", "runtimes"),
    ("space", "storage"),
    ("layers", "data", "drawing", "scoring"),
    ("networks",),
    ("stages", "derivation", "exporters", "reporting"),
    ("runs",),
    ("algorithm",),
    ("ablation", "tuning"),
    ("sizes",),
    ("commands",),
    ("testing",),
)
LABELS = {  # where import and package differ
    "absl": "absl_py",
    "grpc": "grpcio",
    "mlflow": "mlflow_skinny",
    "PIL": "pillow",
    "sklearn": "scikit_learn",
}
INDIRECT = {  # imported by another package that does not declare it
    "data": {"@pypi//importlib_resources"},
    "runs": {"@pypi//alembic", "@pypi//sqlalchemy"},
}


def value(node: ast.expr) -> Any:
    """Evaluates lists, strings, sums of lists and `glob`."""
    if isinstance(node, ast.BinOp):
        return value(node.left) + value(node.right)
    if isinstance(node, ast.Call):
        assert node.func.id == "glob", ast.unparse(node)
        patterns = ast.literal_eval(node.args[0])
        found = sorted(p.relative_to(ROOT).as_posix() for pattern in patterns for p in ROOT.glob(pattern))
        assert found or "conftest" in str(patterns), f"{patterns} matches nothing"
        return found
    return ast.literal_eval(node)


def rules(kind: str) -> dict[str, dict[str, Any]]:
    calls = [s.value for s in TREE.body if isinstance(s, ast.Expr) and isinstance(s.value, ast.Call)]
    found = [{k.arg: value(k.value) for k in call.keywords} for call in calls if call.func.id == kind]
    names = [rule["name"] for rule in found]
    assert len(set(names)) == len(names)
    return {rule["name"]: rule for rule in found}


LIBRARIES = rules("py_library")
OWNERS = {source: name for name, library in LIBRARIES.items() for source in library["srcs"]}


def imports(path: Path) -> set[str]:
    """Returns the dotted names a file imports, also inside its functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def label(name: str, where: str) -> str | None:
    """Returns the target that an import needs, None for the standard library."""
    parts = name.split(".")
    if parts[0] != "hmnas_tf":
        return None if parts[0] in sys.stdlib_module_names else f"@pypi//{LABELS.get(parts[0], parts[0])}"
    for length in range(len(parts), 1, -1):
        stem = "/".join(parts[:length])
        for file in (f"{stem}.py", f"{stem}/__init__.py"):
            if file in OWNERS:
                return f":{OWNERS[file]}"
    raise AssertionError(f"{where} imports {name}, which no py_library holds")


def test_every_source_belongs_to_exactly_one_library():
    listed = [source for library in LIBRARIES.values() for source in library["srcs"]]
    sources = [path.relative_to(ROOT).as_posix() for path in (ROOT / "hmnas_tf").rglob("*.py")]
    assert sorted(s for s in listed if s.startswith("hmnas_tf/")) == sorted(sources)


def test_the_floors_are_complete():
    assert sorted(name for row in FLOORS for name in row) == sorted(LIBRARIES)


@pytest.mark.parametrize("name", sorted(set(LIBRARIES) - {"testing"}))
def test_a_library_depends_on_what_it_imports_and_on_nothing_else(name):
    library = LIBRARIES[name]
    needed = set()
    for source in library["srcs"]:
        needed |= {label(imported, source) for imported in imports(ROOT / source)}
    needed = (needed | {":console"}) - {None, f":{name}"}  # it holds the package's __init__.py
    assert set(library.get("deps", [])) - INDIRECT.get(name, set()) == needed


@pytest.mark.parametrize("name", sorted(LIBRARIES))
def test_dependencies_go_down(name):
    height = {library: floor for floor, row in enumerate(FLOORS) for library in row}
    for dependency in LIBRARIES[name].get("deps", []):
        if dependency.startswith(":"):
            assert height[dependency[1:]] < height[name], f"{name} -> {dependency}"


def test_every_command_is_a_binary():
    starts = "if __name__ == '__main__':"
    commands = {
        path.stem
        for path in (ROOT / "hmnas_tf").glob("[a-z]*.py")
        if starts in ast.unparse(ast.parse(path.read_text(encoding="utf-8")))
    }
    binaries = rules("py_binary")
    assert set(binaries) == commands
    for name, rule in binaries.items():
        assert rule["srcs"] == [rule["main"]] == [f"hmnas_tf/{name}.py"]
        assert rule["main"] in LIBRARIES["commands"]["srcs"]


def test_every_folder_of_tests_is_a_target():
    folders = {path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
    lists = {s.targets[0].id: ast.literal_eval(s.value) for s in TREE.body if isinstance(s, ast.Assign)}
    assert lists["TEST_FOLDERS"] == sorted(folders), "write the folder into TEST_FOLDERS of BUILD"
    assert set(lists["LIGHT"]) < folders
    (comprehension,) = (s.value for s in TREE.body if isinstance(getattr(s, "value", None), ast.ListComp))
    assert comprehension.elt.func.id == "py_test"
    assert ast.unparse(comprehension.generators[0]) == " for folder in TEST_FOLDERS"


def test_bazel_runs_the_files_of_one_folder(tmp_path):
    sys.path.insert(0, str(ROOT / "tests" / "project"))
    try:
        from pytest_main import files_in
    finally:
        sys.path.pop(0)
    (tmp_path / "below").mkdir()
    for name in ("test_b.py", "test_a.py", "conftest.py", "below/test_c.py"):
        (tmp_path / name).touch()
    assert [Path(file).name for file in files_in([str(tmp_path)])] == ["test_a.py", "test_b.py"]
    with pytest.raises(SystemExit, match="expected folders"):
        files_in([str(tmp_path / "none")])


def test_only_known_rules_are_loaded():
    loads = [
        s.value
        for s in TREE.body
        if isinstance(s, ast.Expr) and isinstance(s.value, ast.Call) and s.value.func.id == "load"
    ]
    (load,) = ([ast.literal_eval(arg) for arg in call.args] for call in loads)
    assert load == ["@rules_python//python:defs.bzl", "py_binary", "py_library", "py_test"]
