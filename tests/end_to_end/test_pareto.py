"""Networks of several sizes come from the supernet of one run, each a run of its own; what cannot be is told first."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from hmnas_tf.algorithm import search
from hmnas_tf.reporting.sizes import FOLDER
from hmnas_tf.runs.budgeting import InfeasibleError
from hmnas_tf.runs.run_report import write_report
from hmnas_tf.sizes import sizes
from hmnas_tf.sizes.budget_lists import networks
from hmnas_tf.sizes.sizes import pareto
from hmnas_tf.storage.run_folder import RunFolder

pytestmark = pytest.mark.slow

ASKED = networks({"parameters": [700, 500]})
RIVALS = ["resnet8", "top2"]  # tests/reliability has random ones


@pytest.fixture(scope="module")
def finished(patterns, short, tmp_path_factory):
    """Two sizes with rivals from the supernet of the shortest run: records, what was said, and the run's folder."""
    workdir, lines = tmp_path_factory.mktemp("pareto") / "run", []
    shutil.copytree(short.workdir, workdir)
    records = pareto(patterns, short.config, workdir, ASKED, rivals=RIVALS, say=lines.append)
    return records, lines, workdir


def results(workdir: Path, network: str) -> dict:
    return json.loads((workdir / FOLDER / network / "results.json").read_text(encoding="utf-8"))


def test_every_network_keeps_its_budget_and_so_do_its_rivals(finished):
    records, lines, workdir = finished
    kinds = ["masks", *RIVALS]
    assert [(record["network"], record["kind"]) for record in records] == [
        (name, kind) for name in ("parameters_500", "parameters_700") for kind in kinds
    ]
    for record in records:
        assert record["params"] <= record["max_parameters"]
        folder = record["network"] + ("" if record["kind"] == "masks" else f"_{record['kind']}")
        assert results(workdir, folder)["stages"]["finetuned"]["params"] == record["params"]
        assert (workdir / FOLDER / folder / "model" / "derived.keras").exists() == (
            record["kind"] != "resnet8"
        )
    assert len({record["epochs"] for record in records}) == 1
    assert [line for line in lines if line.startswith("parameters_500: ")]


def test_the_supernet_is_trained_once(finished, short):
    _, lines, workdir = finished
    assert not [line for line in lines if "Stage 1 of 3" in line]
    for name in (*ASKED, *(f"{name}_top2" for name in ASKED)):
        assert results(workdir, name)["stages"]["supernet"] == short.result.results["stages"]["supernet"]


def test_table_chart_and_report_have_every_network(finished, short):
    records, lines, workdir = finished
    with (workdir / FOLDER / "pareto.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["test_error"] for row in rows] == [str(record["test_error"]) for record in records]
    assert (workdir / FOLDER / "pareto.md").read_text(encoding="utf-8") in lines
    assert "<svg" in (workdir / FOLDER / "pareto.svg").read_text(encoding="utf-8")
    page = write_report(RunFolder(workdir), short.config, None).read_text(encoding="utf-8")
    assert "One supernet, several sizes" in page
    assert "parameters_700" in page


def test_the_run_itself_is_as_it_was(finished, short):
    _, _, workdir = finished
    for name in ("results.json", "genotype.json", "run.flags", "metrics.csv"):
        assert (workdir / name).read_bytes() == (short.workdir / name).read_bytes()


def test_finished_networks_are_only_read_and_more_are_added(finished, patterns, short, monkeypatch):
    records, _, workdir = finished
    before = {path: path.read_bytes() for path in (workdir / FOLDER).rglob("*.json")}
    assert pareto(patterns, short.config, workdir, ASKED, rivals=RIVALS) == records
    assert {path: path.read_bytes() for path in (workdir / FOLDER).rglob("*.json")} == before
    begun = []
    monkeypatch.setattr(sizes, "search", lambda *arguments, **_: begun.append(arguments[2].name) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        pareto(patterns, short.config, workdir, networks({"parameters": [450, 700]}))
    assert begun == ["parameters_450"]


def test_what_cannot_be_is_told_before_a_network_is_trained(patterns, short, make_config, tmp_path):
    workdir, lines = tmp_path / "run", []
    shutil.copytree(short.workdir, workdir)
    with pytest.raises(InfeasibleError, match="max_parameters=5 cannot be met: the smallest network"):
        pareto(patterns, short.config, workdir, networks({"parameters": [700, 5]}), say=lines.append)
    assert not [line for line in lines if "epoch" in line]
    partial = dataclasses.replace(short.config, partial_channels=2)
    with pytest.raises(ValueError, match="partial_channels=2 contradict"):
        pareto(patterns, partial, workdir, ASKED)
    with pytest.raises(ValueError, match="no mobilenet is so small: its narrowest has"):
        pareto(patterns, short.config, workdir, ASKED, rivals=["mobilenet"], say=lines.append)
    assert not [line for line in lines if "epoch" in line]
    fast = networks({"latency_ms": [5.0]})
    timed = dataclasses.replace(short.config, formats=("onnx",))
    with pytest.raises(ValueError, match="random is made as wide as parameters or multiply-adds allow"):
        pareto(patterns, timed, workdir, fast, rivals=["resnet8", "random"])
    with pytest.raises(ValueError, match="rivals='mine'"):
        pareto(patterns, short.config, workdir, ASKED, rivals=["mine"])


def test_a_run_without_a_trained_supernet_is_refused(patterns, short, make_config, tmp_path):
    with pytest.raises(ValueError, match="has no trained supernet yet"):
        pareto(patterns, short.config, tmp_path / "nothing", ASKED)
    given = make_config(
        genotype=str(short.workdir / "genotype.json"), initial_weights="random", finetune_epochs=0
    )
    search(patterns, given, tmp_path / "given")
    with pytest.raises(ValueError, match="has no trained supernet yet"):
        pareto(patterns, given, tmp_path / "given", ASKED)
    workdir = tmp_path / "run"
    shutil.copytree(short.workdir, workdir, ignore=shutil.ignore_patterns("*.npz"))
    with pytest.raises(ValueError, match=r"supernet\.npz is missing"):
        pareto(patterns, short.config, workdir, ASKED)
