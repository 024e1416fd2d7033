"""tools/benchmark.py: what it times, what it makes of the times, and what it refuses; never how fast anything is."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*flags: str | Path) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "tools" / "benchmark.py", *flags]
    return subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=900
    )


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.slow
def test_every_step_is_timed_as_often_and_the_table_has_the_medians(tmp_path):
    page, times = tmp_path / "page.md", tmp_path / "times.json"
    page.write_text(
        "before\n<!-- measured: begin -->\nold\n<!-- measured: end -->\nafter\n", encoding="utf-8"
    )
    result = run("--cases=tiny", "--threads=1", "--rounds=3", f"--into={page}", f"--json={times}")
    assert result.returncode == 0, result.stderr
    (found,) = json.loads(times.read_text(encoding="utf-8"))
    timed = {"search/search", "search/weights", "product/product", "mask/mask", "derived/finetune"}
    timed |= {"derived/inference", "pytorch/search", "pytorch/weights", "pytorch/inference"}
    timed |= {"search/half", "pytorch/half", "search/pipeline"}
    timed |= {"recompute/search", "partial/search", "pruned/mask"}
    assert set(found["times"]) == timed
    assert all(len(rows) == 3 and min(t["wall"] for t in rows) > 0 for rows in found["times"].values())
    # Two passes make a larger graph than one, a way back a larger one than none.
    built = found["built"]
    assert built["search"]["parameters"] > 1000
    assert built["derived"]["inference"] < built["derived"]["finetune"]
    assert built["mask"]["mask"] < built["search"]["search"] < built["recompute"]["search"]
    assert built["pruned"]["mask"] != built["mask"]["mask"]
    assert built["partial"]["parameters"] < built["search"]["parameters"]
    assert all(peak > 1e8 for peak in found["peak"].values())

    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    rows = {row[0]: row for row in map(cells, re.findall(r"^\| .* \|$", text, re.MULTILINE))}
    ours, theirs = (
        statistics.median(t["wall"] for t in found["times"][key])
        for key in ("search/search", "pytorch/search")
    )
    row = rows["search step: architecture and weights"]
    assert row[1] == f"{1e3 * ours:.1f}"
    assert row[4] == f"{theirs / ours:.2f}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--cases=huge", "huge: choose some of cifar"),
        ("--threads=0", "expected numbers from 1 to"),
        ("--into=README.md", "expected the marks"),
    ],
)
def test_bad_flags_are_refused_before_anything_is_measured(flag, words, tmp_path):
    result = run("--cases=tiny", flag.replace("README.md", str(ROOT / "README.md")))
    assert result.returncode in (1, 2)
    assert words in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
