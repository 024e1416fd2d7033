"""README's table "Paper to code": every file and symbol in it exists, and nothing of the paper is forgotten."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "README.md").read_text(encoding="utf-8").split("## Paper to code")[1].split("\n## ")[0]
ROWS = re.findall(r"^\| ([^|]+) \| `([^`]+)` \| `([^`]+)` \|$", TABLE, re.MULTILINE)


def symbols(path: Path) -> set[str]:
    """Returns the names that a module defines: functions, classes, Class.method, constants."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
            found |= (
                {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
                if (isinstance(node, ast.ClassDef))
                else set()
            )
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign):
            found.add(node.target.id)
    return found


def test_every_row_was_read():
    assert len(ROWS) == TABLE.count("\n|") - 2  # less head and rule


@pytest.mark.parametrize(("paper", "file", "symbol"), ROWS, ids=[row[0] for row in ROWS])
def test_the_symbol_is_in_the_file(paper, file, symbol):
    assert symbol in symbols(ROOT / file), f"{paper}: {file} has no {symbol}"


@pytest.mark.parametrize(
    "place", ["Eq. 1", "Eq. 2", "Eq. 3", "Eq. 4", "Algorithm 1", "§3.1", "§3.2", "§3.3", "§3.4"]
)
def test_every_equation_and_section_of_the_method_has_a_row(place):
    assert any(paper.startswith(place) for paper, _, _ in ROWS)


EQUATIONS = [(paper, file) for paper, file, _ in ROWS if paper.startswith("Eq.")]


@pytest.mark.parametrize(("paper", "file"), EQUATIONS)
def test_the_file_of_an_equation_names_it(paper, file):
    """Who comes from the paper finds the number again in the file."""
    number = re.match(r"Eq\. (\d)", paper)[1]
    text = (ROOT / file).read_text(encoding="utf-8")
    assert re.search(rf"Eqs?\. (\d,? |and )*{number}", " ".join(text.split())), (
        f"{file} names no Eq. {number}"
    )
