"""The tool that proves two runs equal sees one changed bit, one changed row, one changed number, and nothing else."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from hmnas_tf.storage.variables_file import save_variables

TOOL = Path(__file__).parents[2] / "tools" / "compare_runs.py"
METRICS = "stage,epoch,loss,seconds\nmask search,1,0.5,3.25\nmask search,2,0.25,{seconds}\n"


class Variable:
    """Has the one method that a file of variables needs."""

    def __init__(self, values: np.ndarray):
        self.values = values

    def numpy(self) -> np.ndarray:
        return self.values


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location(TOOL.stem, TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_stage(run: Path, changed: bool = False) -> None:
    values = [np.arange(6, dtype=np.float32), np.ones((2, 2), np.float32)]
    if changed:
        values[1].view(np.uint32)[1, 0] ^= 1  # the last bit of one number
    save_variables(run / "checkpoints" / "searched.npz", [Variable(value) for value in values])


def results(**changes) -> dict:
    stage = {"test_error": 12.5, "params": 100, "seconds": 1.5}
    return {"schema": 1, "stages": {"searched": stage | changes}, "versions": {"keras": "3"}, "seed": 0}


@pytest.fixture
def runs(tmp_path) -> tuple[Path, Path]:
    """Two equal runs that took other times on other machines."""
    run = tmp_path / "first"
    (run / "checkpoints").mkdir(parents=True)
    write_stage(run)
    (run / "metrics.csv").write_text(METRICS.format(seconds=1))
    (run / "genotype.json").write_text("{}")
    (run / "results.json").write_text(json.dumps(results()))
    other = tmp_path / "second"
    shutil.copytree(run, other)
    (other / "metrics.csv").write_text(METRICS.format(seconds=2))
    (other / "results.json").write_text(
        json.dumps(results(seconds=9) | {"versions": {"keras": "4"}, "machine": {"host": "there"}})
    )
    return run, other


def outcome(tool, runs, capsys) -> tuple[int, str]:
    code = tool.main([str(run) for run in runs])
    (line,) = capsys.readouterr().out.splitlines()
    return code, line


def test_runs_that_differ_in_time_and_place_only_are_equal(tool, runs, capsys):
    code, line = outcome(tool, runs, capsys)
    assert code == 0
    assert line.endswith("are equal: 1 stages, 2 variables, 2 epochs")


def change_a_bit(run: Path) -> None:
    write_stage(run, changed=True)


def change_a_row(run: Path) -> None:
    (run / "metrics.csv").write_text(METRICS.format(seconds=1).replace("0.25", "0.26"))


def lose_a_row(run: Path) -> None:
    (run / "metrics.csv").write_text("\n".join(METRICS.format(seconds=1).splitlines()[:-1]) + "\n")


def change_a_result(run: Path) -> None:
    (run / "results.json").write_text(json.dumps(results(params=101)))


def change_the_architecture(run: Path) -> None:
    (run / "genotype.json").write_text('{"schema": 1}')


def lose_a_stage(run: Path) -> None:
    (run / "checkpoints" / "searched.npz").unlink()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (change_a_bit, "checkpoints/searched.npz: variable 1 by up to 1.19e-07"),
        (change_a_row, "metrics.csv: loss of mask search epoch 2"),
        (lose_a_row, "metrics.csv: 2 and 1 rows"),
        (change_a_result, "results.json: stages.searched.params"),
        (change_the_architecture, "genotype.json"),
        (lose_a_stage, "stages that are finished: ['searched.npz'] and []"),
    ],
)
def test_one_change_is_seen_and_named(change, said, tool, runs, capsys):
    change(runs[1])
    code, line = outcome(tool, runs, capsys)
    assert code == 1
    assert line.endswith(f"differ: {said}")


def test_what_holds_no_run_is_refused_in_a_line(tool, runs, tmp_path, capsys):
    assert tool.main([str(runs[0]), str(tmp_path / "nothing")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "holds no run" in line
    assert tool.main([str(runs[0])]) == 2
