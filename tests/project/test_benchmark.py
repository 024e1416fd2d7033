"""tools/benchmark.py: what it times, what it makes of the times, and what it refuses; never how fast anything is."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import benchmark
import pytest
from measured_tables import csv_of, read

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "performance.md"


def run(*flags: str | Path) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "tools" / "benchmark.py", *flags]
    return subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=900
    )


@pytest.mark.slow
def test_every_step_is_timed_as_often_and_the_table_has_the_medians(tmp_path):
    page, times = tmp_path / "page.md", tmp_path / "times.json"
    marks = [f"<!-- table: page_{name}.csv -->\nold\n<!-- table: end -->" for name in benchmark.TABLES]
    page.write_text("\n".join(["before", *marks, "after\n"]), encoding="utf-8")
    result = run("--cases=tiny", "--threads=1", "--rounds=3", f"--into={page}", f"--json={times}")
    assert result.returncode == 0, result.stderr
    (found,) = json.loads(times.read_text(encoding="utf-8"))
    timed = {"search/search", "search/weights", "product/product", "mask/mask", "derived/finetune"}
    timed |= {"derived/inference", "pytorch/search", "pytorch/weights", "pytorch/inference"}
    timed |= {"search/half", "pytorch/half", "search/pipeline"}
    timed |= {"recompute/search", "partial/search", "pruned/mask"}
    timed |= {f"{name}/{task}" for name in ("resnet8", "mobilenet") for task in ("finetune", "inference")}
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
    tables = {name: read(csv_of(page, name)) for name in benchmark.TABLES}
    ours, theirs = (
        statistics.median(t["wall"] for t in found["times"][key])
        for key in ("search/search", "pytorch/search")
    )
    steps = {row["step"]: row for row in tables["steps"]}
    assert len(steps) == len(timed) - 1, "the product has no row"
    row = steps["search step: architecture and weights"]
    assert row["ms"] == f"{1e3 * ours:.1f}"
    assert row["against PyTorch"] == f"{theirs / ours:.2f}"
    assert f"| {row['step']} | {row['ms']} | {row['least']} |" in text
    nodes = {row["process"]: row["nodes of a step's graph"] for row in tables["processes"]}
    assert nodes["search"] == str(built["search"]["search"])
    assert nodes["derived"] == str(built["derived"]["finetune"])
    assert tables["sizes"][0]["weights"] == str(built["search"]["parameters"])


def test_rows_are_medians_ratios_to_pytorch_and_shares_of_the_product():
    walls = {key: 0.010 for key in [f"{kind}/{task}" for kind, task, *_ in benchmark.STEPS]}
    walls |= {"pytorch/search": 0.030, "/".join(benchmark.PRODUCT): 2 * benchmark.MATRIX**3 / 100e9}
    times = {key: [{"wall": factor * w, "cpu": w} for factor in (0.5, 1, 4)] for key, w in walls.items()}
    kinds = {key.split("/")[0] for key in walls}
    built = {kind: {} for kind in kinds} | {"derived": {"finetune": 50, "inference": 7}}
    built["search"] = {"search": 900, "parameters": 4321, "multiply_adds": 5_000_000}
    found = {"threads": 2, "case": benchmark.CASES["tiny"], "compiled": ": no first step within 5 s"}
    found |= {"times": times, "built": built}
    found |= {"start_seconds": dict.fromkeys(kinds, 6.0), "peak": dict.fromkeys(kinds, 2.5e9)}
    steps = {row["step"]: row for row in benchmark.rows_of_steps("tiny", found)}
    # 5 passes of 8 images with 10 million operations each, in 10 ms, beside a product at 100 GFLOP/s.
    assert steps["search step: architecture and weights"] == {
        **{"size": "tiny", "threads": 2, "step": "search step: architecture and weights", "ms": "10.0"},
        **{"least": "5.0", "most": "40.0", "cores busy": "1.00", "against PyTorch": "3.00"},
        **{"GFLOP/s": "40.0", "of the product's %": "40"},
    }
    assert steps["PyTorch: search step, compiled: no first step within 5 s"]["ms"] == ""
    assert steps["fine-tuning step, half of all operations"]["GFLOP/s"] == ""
    processes = {row["process"]: row for row in benchmark.rows_of_processes("tiny", found)}
    assert set(processes) == kinds - {benchmark.PRODUCT[0]}
    graph = "nodes of a step's graph"
    assert (processes["derived"][graph], processes["derived"]["of inference"]) == (50, 7)
    assert (processes["search"][graph], processes["pytorch"][graph]) == (900, "")
    size = benchmark.row_of_size("tiny", found)
    assert (size["weights"], size["GFLOP/s of the product"]) == (4321, "100")
    rows = {"sizes": [size], "steps": list(steps.values()), "processes": list(processes.values())}
    assert {*rows, "conditions"} == set(benchmark.TABLES)
    for name, made in rows.items():
        assert list(made[0]) == list(read(csv_of(PAGE, name))[0]), (
            f"the columns of docs/performance_{name}.csv"
        )
    benchmark.require_places(str(PAGE), benchmark.TABLES)


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
