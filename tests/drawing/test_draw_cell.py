"""The tool draws what a genotype says, or tells in one line why it cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "draw_cell.py"


def run(*arguments: object, python: tuple[str, ...] = (), folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *python, str(TOOL), *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        timeout=600,
    )


@pytest.fixture
def path(genotype, tmp_path) -> Path:
    path = tmp_path / "genotype.json"
    path.write_text(json.dumps(genotype.to_json()), encoding="utf-8")
    return path


@pytest.mark.slow
def test_the_first_cell_of_each_type_is_drawn_without_tensorflow(path, tmp_path):
    done = run(path, "cell.svg", python=("-X", "importtime"), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["cell_normal.svg", "cell_reduction.svg"]
    assert not {"tensorflow", "keras"} & {
        line.rpartition("|")[2].strip() for line in done.stderr.splitlines()
    }
    for name, edges in (("cell_normal.svg", 5), ("cell_reduction.svg", 1)):
        root = ElementTree.fromstring((tmp_path / name).read_text(encoding="utf-8"))
        ids = [element.get("id", "") for element in root.iter()]
        assert sum("-edge-" in found for found in ids) == edges
        assert root[1].text.startswith(f"edges: {edges}, operations: ")


@pytest.mark.slow
def test_one_cell_is_drawn_as_png(path, tmp_path):
    done = run(path, tmp_path / "deep" / "cell.png", "--cell=1", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "deep" / "cell.png").read_bytes().startswith(b"\x89PNG")
    assert [found.name for found in (tmp_path / "deep").iterdir()] == ["cell.png"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("none.json", "cell.svg"), "none.json"),
        (("genotype.json", "cell.pdf"), "expected a name that ends with .svg or .png"),
        (("genotype.json", "cell.svg", "--cell=4"), "--cell=4: the genotype has the cells 0 to 3"),
        (("broken.json", "cell.svg"), "broken.json: genotype is not JSON"),
        (("genotype.json",), "expected two arguments"),
    ],
    ids=str,
)
def test_a_mistake_is_one_line_and_writes_nothing(arguments, said, path, tmp_path):
    (tmp_path / "broken.json").write_text('{"schema": 1, ', encoding="utf-8")
    done = run(*arguments, folder=tmp_path)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("draw_cell: ")
    assert said in line
    assert not list(tmp_path.glob("cell*"))
