"""Networks of several sizes whose making is killed are those of one that never was; mistakes are one line."""

from __future__ import annotations

import shutil
import signal

import pytest
from forked import Command, refused, wait_for
from test_kills import assert_the_same, kill, rows

from hmnas_tf.runs.mlflow_store import connect

pytestmark = pytest.mark.slow

ASKED = ("--max_parameters=700,500", "--mask_epochs=1", "--finetune_epochs=1", "--rivals=random")


def test_killed_at_any_time_it_is_uninterrupted(finished, tmp_path):
    folders = (tmp_path / "killed", tmp_path / "whole")
    for folder in folders:
        shutil.copytree(finished, folder)
    run, log = folders[0], f"--mlflow=sqlite:///{tmp_path / 'mlflow.db'}"
    for network, stage in (
        ("parameters_500", "searched"),
        ("parameters_500_random", "finetuned"),
    ):
        command = Command("pareto", [f"--workdir={run}", *ASKED, log], tmp_path / f"{network} {stage}")
        kill(command, run / "pareto" / network, stage, False, 0.02)
    command = Command("pareto", [f"--workdir={run}", *ASKED, log], tmp_path / "terminated")
    wait_for(lambda: "network 4 of 4" in command.shown, command)
    command.send(signal.SIGTERM)
    assert command.wait() == 143
    commands = [
        Command("pareto", [f"--workdir={path}", *ASKED, *more], tmp_path / f"{path.name}.out")
        for path, more in zip(folders, ([log], []), strict=True)
    ]
    assert [command.wait() for command in commands] == [0, 0]
    tables = [rows(path / "pareto" / "pareto.csv") for path in folders]
    assert tables[0] == tables[1]
    assert len(tables[0]) == 4
    for network in ("parameters_500", "parameters_700"):
        assert_the_same(
            *(path / "pareto" / network for path in folders), epochs=6, stages=("searched", "finetuned")
        )
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "One supernet, several sizes" in page
    store = connect(f"sqlite:///{tmp_path / 'mlflow.db'}")
    found = {each.info.run_name: each for each in store.client.search_runs([store.experiment])}
    whole = found.pop("killed")
    assert set(found) == {path.name for path in (run / "pareto").glob("parameters_*")}
    assert {part.data.tags["mlflow.parentRunId"] for part in found.values()} == {whole.info.run_id}
    assert {part.info.status for part in (whole, *found.values())} == {"FINISHED"}
    logged = tmp_path / "mlruns" / "hmnas_tf" / whole.info.run_id / "artifacts" / "report.html"
    assert logged.read_text(encoding="utf-8") == page


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["no budget is given", "--max_parameters"]),
        (["--max_parameters=10k"], ["--max_parameters=10k", "comma list of whole numbers"]),
        (["--max_parameters=500,500"], ["asked for twice"]),
        (["--max_parameters=5"], ["max_parameters=5 cannot be met", "smallest network"]),
        (["--max_parameters=500", "--rivals=mobilenet"], ["no mobilenet is so small", "parameters"]),
        (["--max_parameters=500", "--rivals=mine"], ["rivals='mine'", "random"]),
        (["--max_latency_ms=1"], ["max_latency_ms=1.0", "formats='keras' has no onnx"]),
        (["--max_parameters=500", "--mask_epochs=0"], ["mask_epochs=0", "at least 1"]),
    ],
)
def test_mistakes_are_one_line(arguments, words, finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    refused(Command("pareto", [f"--workdir={run}", *arguments], tmp_path / "out"), words)


def test_a_folder_without_a_run_is_refused(tmp_path):
    command = Command("pareto", [f"--workdir={tmp_path / 'none'}", *ASKED], tmp_path / "out")
    refused(command, ["holds no run"])
    assert not (tmp_path / "none").exists()
