"""Milliseconds that are asked for are kept by what is measured, not by what a table says; a killed run measures on."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from compare_runs import compare

import hmnas_tf
from hmnas_tf.networks import counting
from hmnas_tf.runs import latency

ROUNDS = 3
SLOWER = 1.3  # than its parts is a whole network here
ASKED = 0.8


class Killed(Exception):
    """Stands for a machine that goes down."""


@dataclasses.dataclass
class Stopwatch:
    """Stands for a machine without noise: the milliseconds of a network follow from its layers and multiply-adds."""

    slower: float = SLOWER
    paces: Iterable[float] = itertools.repeat(
        1.0
    )  # of the machine, one for each time that networks are timed
    timed: list[str] = dataclasses.field(default_factory=list)
    known: ClassVar[dict[str, float]] = {}  # of parts, which tests share

    def models(self, runtime, models, say=None) -> dict[str, np.ndarray]:
        self.timed += models
        pace = next(iter(self.paces))
        return {
            name: np.full(ROUNDS, pace * self._milliseconds(name, build)) for name, build in models.items()
        }

    def _milliseconds(self, name, build) -> float:
        if name in self.known:
            return self.known[name]
        model = build()
        own = 0.01 * len(model.layers) + 2e-5 * counting.size_of(model)["flops"]
        if name == "network":
            return self.slower * own
        return self.known.setdefault(name, own)

    def file(self, runtime, path) -> np.ndarray:
        assert path.exists()
        return np.full(ROUNDS, ASKED)


@pytest.fixture
def stopwatch(monkeypatch, tmp_path) -> Stopwatch:
    made = Stopwatch()
    monkeypatch.setattr(latency, "time_models", made.models)
    monkeypatch.setattr(latency, "time_file", made.file)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return made


@pytest.fixture(scope="module")
def config(make_config):
    operations = ("sep_conv_3x3", "max_pool_3x3", "identity")
    own = dict(operation_price=0.0, mask_epochs=3, max_latency_ms=ASKED, formats=("onnx",))
    return make_config(nodes=2, operations=operations, **own)


def tries(workdir: Path) -> list[dict[str, float]]:
    return json.loads((workdir / "results.json").read_text(encoding="utf-8"))["latency"]["tries"]


@pytest.mark.slow
def test_what_is_measured_keeps_the_budget_and_a_killed_run_measures_on(
    config, patterns, run, stopwatch, tmp_path
):
    whole = run(config, tmp_path / "whole")
    entry, found = whole.result.results["budgets"]["latency_ms"], whole.result.results["latency"]
    assert found["tries"][0]["upper_ms"] > ASKED, "the table is too hopeful, so that there is something to do"
    held = max(each["upper_ms"] for each in found["tries"] if each["upper_ms"] <= ASKED)
    assert 0.8 * ASKED < held <= ASKED
    assert found["runtime"] == "onnx"
    assert found["measured_ms"] == ASKED
    assert found["predicted_ms"] == pytest.approx(entry["reached"], abs=1e-3)
    assert entry["smallest"] < entry["reached"] < entry["supernet"]
    assert sum(entry["parts"].values()) == pytest.approx(entry["reached"], abs=1e-3)
    assert (whole.workdir / "latency_table.json").exists()
    assert "latency-ms" in (whole.workdir / "report.html").read_text(encoding="utf-8")
    assert any("takes 0.800 ms of 0.8 ms asked for" in line for line in whole.lines)

    count = len(stopwatch.timed)
    for number in range(1, len(found["tries"])):  # killed after each measurement, the last one apart
        seen = []

        def say(line: str, number: int = number, seen: list = seen) -> None:
            seen.append(line.startswith("latency: ") and "measured" in line)
            if sum(seen):
                raise Killed

        with pytest.raises(Killed):
            hmnas_tf.search(patterns, config, tmp_path / "killed", say=say)
        assert tries(tmp_path / "killed") == found["tries"][:number]
    hmnas_tf.search(patterns, config, tmp_path / "killed")
    assert stopwatch.timed[count:] == ["network"] * len(found["tries"]), "no part again, each network once"
    differing, compared = compare(tmp_path / "killed", whole.workdir)
    assert not differing
    assert "3 stages" in compared


@pytest.mark.slow
def test_what_no_network_keeps_is_refused(config, patterns, stopwatch, tmp_path):
    lines: list[str] = []
    few = dataclasses.replace(config, max_latency_ms=0.01)
    with pytest.raises(
        ValueError, match=r"max_latency_ms=0.01 cannot be met: the smallest network .* has 0\.\d+ ms"
    ):
        hmnas_tf.search(patterns, few, tmp_path / "few", say=lines.append)
    assert not [line for line in lines if "epoch" in line]
    stopwatch.slower = 50.0
    with pytest.raises(
        ValueError, match=r"max_latency_ms=0.8 cannot be met: the fastest network that was found takes"
    ):
        hmnas_tf.search(patterns, config, tmp_path / "slow")


@pytest.mark.slow
def test_a_table_of_another_machine_is_refused_and_a_damaged_one_made_again_at_any_pace(
    config, patterns, stopwatch, tmp_path, monkeypatch
):
    def begin(folder: Path) -> list[str]:
        lines: list[str] = []

        def say(line: str) -> None:
            lines.append(line)
            if line.startswith("Stage 1"):
                raise Killed

        with pytest.raises(Killed):
            hmnas_tf.search(patterns, config, folder, say=say)
        return lines

    begin(tmp_path / "first")
    parts = len(stopwatch.timed)
    assert not any("timed in" in line for line in begin(tmp_path / "second")), "kept for the machine"
    kept = latency.kept_table("onnx")
    kept.write_text(kept.read_text(encoding="utf-8")[:-40], encoding="utf-8")
    monkeypatch.setattr(latency, "AT_A_TIME", 8)
    stopwatch.paces = itertools.chain([1.0], itertools.cycle([1.5, 0.8]))  # the first is the table's
    lines = begin(tmp_path / "third")
    assert any(f"{kept} is no table of milliseconds" in line and "measured again" in line for line in lines)
    assert set(stopwatch.timed[parts:]) == set(stopwatch.timed[:parts])
    assert stopwatch.timed[parts:].count(latency.REFERENCE) > 2
    first, third = (
        json.loads((tmp_path / name / "latency_table.json").read_text(encoding="utf-8"))["milliseconds"]
        for name in ("first", "third")
    )
    assert third == pytest.approx(first), "as if the machine had one pace"

    monkeypatch.setattr(latency, "processor", lambda: "another (with AVX-512)")
    message = (
        r"latency_table.json was measured with processor '.*', but this is 'another .*take another --workdir"
    )
    with pytest.raises(ValueError, match=message):
        hmnas_tf.search(patterns, config, tmp_path / "first")
    (tmp_path / "second" / "latency_table.json").write_text("{}", encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"latency_table.json is no table of milliseconds \(KeyError\): remove it"
    ):
        hmnas_tf.search(patterns, config, tmp_path / "second")


@pytest.mark.slow
def test_too_much_noise_and_too_slow_a_file_are_told(config, patterns, run, stopwatch, tmp_path, monkeypatch):
    def noisy(runtime, models, say=None):
        spread = np.array([0.7, 1.0, 1.3])
        return {name: spread * values for name, values in stopwatch.models(runtime, models).items()}

    monkeypatch.setattr(latency, "time_models", noisy)
    monkeypatch.setattr(latency, "time_file", lambda runtime, path: np.array([0.8, 0.9, 1.0]))
    lines = run(dataclasses.replace(config, max_latency_ms=1.1 * ASKED), tmp_path / "run").lines
    assert any(
        "too noisy to tell milliseconds: repeated measurements differ by 30 %" in line for line in lines
    )
    assert any("takes 0.900 ms, more than max_latency_ms=0.88" in line for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnx", "litert"])
def test_networks_are_timed_in_their_runtime(runtime, config, run, tmp_path):
    """On whatever machine, so nothing is said of how long they take."""
    own = dict(latency_runtime=runtime, formats=(runtime,), operations=("max_pool_3x3",), nodes=1)
    plenty = dataclasses.replace(config, max_latency_ms=1000.0, **own)
    made = run(plenty, tmp_path / "run")
    assert any("max_latency_ms=1000.0 is no less than the whole supernet has" in line for line in made.lines)
    table = json.loads((made.workdir / "latency_table.json").read_text(encoding="utf-8"))
    assert table["runtime"] == runtime
    assert len(table["milliseconds"]) > 10
    assert all(0 < value < 1000 for value in table["milliseconds"].values())
    assert 0 < made.result.results["latency"]["measured_ms"] < 1000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(formats=("keras",)), "formats='keras' has no onnx: add it"),
        (dict(latency_runtime="litert"), "formats='onnx' has no litert: add it"),
        (dict(max_latency_ms=-1.0), "max_latency_ms=-1.0 is out of range"),
        (dict(derivation="top2"), "max_latency_ms=0.8 and derivation='top2' contradict"),
    ],
)
def test_contradictions_are_refused(changes, message, config):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(config, **changes)
