"""Runs in the real MLflow: one run of it each, also after a kill and a store that failed; parts of others as such."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import keras
import pytest

import hmnas_tf
from hmnas_tf.ablation import ablation
from hmnas_tf.config import Config
from hmnas_tf.runs import mlflow_store, tracking
from hmnas_tf.runs.mlflow_store import connect, require_store
from hmnas_tf.runs.tracking import Tracker, log_folder
from hmnas_tf.sizes.budget_lists import networks
from hmnas_tf.sizes.sizes import pareto
from hmnas_tf.storage.run_folder import flag_values
from hmnas_tf.tuning import tuning
from hmnas_tf.tuning.goal import Tuning

pytestmark = pytest.mark.slow

CLOCK = {"seconds"}  # columns and entries that depend on it


class Killed(BaseException):
    """Stands for a machine that goes down."""


@pytest.fixture(scope="module")
def empty(tmp_path_factory) -> Path:
    """A store without runs: it takes seconds to make one."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    connect(f"sqlite:///{path}")
    return path


@pytest.fixture
def store(empty, tmp_path) -> str:
    """A store of its own for one test."""
    return a_copy(empty, tmp_path)


def a_copy(empty: Path, folder: Path) -> str:
    (folder / "store").mkdir()
    shutil.copy(empty, folder / "store" / "mlflow.db")
    return f"sqlite:///{folder / 'store' / 'mlflow.db'}"


def runs(uri: str) -> dict:
    """Returns what a store has, by the names of the runs; each name once."""
    found = connect(uri)
    listed = found.client.search_runs([found.experiment])
    assert len({run.info.run_name for run in listed}) == len(listed)
    return {run.info.run_name: run for run in listed}


def steps(uri: str, run, metric: str) -> list[int]:
    return [point.step for point in connect(uri).client.get_metric_history(run.info.run_id, metric)]


def files(run) -> set[str]:
    folder = Path(run.info.artifact_uri.removeprefix("file://"))
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def break_it(uri: str, name: str = "metrics", other: str = "away") -> None:
    """Takes a table away, so that logging fails at once."""
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as connection:
        connection.execute(f"ALTER TABLE {name} RENAME TO {other}")


def mend_it(uri: str, name: str = "metrics") -> None:
    break_it(uri, "away", name)


@pytest.fixture
def folder(short, tmp_path) -> Path:
    """A finished run that MLflow has not seen."""
    shutil.copytree(short.workdir, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="module")
def tracked(patterns, make_config, empty, tmp_path_factory):
    """A run that was looked at, killed twice and continued, while its store failed for some time."""
    place = tmp_path_factory.mktemp("tracked")
    config = make_config(mlflow=a_copy(empty, place))
    lines: list[str] = []
    seen: list[tuple] = []

    class Watch(keras.callbacks.Callback):
        def __init__(self, stage: str):
            super().__init__()
            self.stage = stage

        def on_epoch_begin(self, epoch, logs=None):
            if (self.stage, epoch) == ("supernet", 1):
                break_it(config.mlflow)
            if (self.stage, epoch) == ("searched", 1):
                mend_it(config.mlflow)

        def on_epoch_end(self, epoch, logs=None):
            seen.append((self.stage, epoch, logs["test_error"]))

    def start(border: str) -> None:
        def say(line: str) -> None:
            lines.append(line)
            if line.startswith(border):
                raise Killed

        hmnas_tf.search(
            patterns,
            config,
            place / "run",
            say=say,
            callbacks={name: [Watch(name)] for name in ("supernet", "searched", "finetuned")},
        )

    for border in ("mask search: test error", "fine-tuning       epoch   1/2"):
        with pytest.raises(Killed):
            start(border)
    states = {name: run.info.status for name, run in runs(config.mlflow).items()}
    start("no line begins like this")
    return SimpleNamespace(uri=config.mlflow, folder=place / "run", lines=lines, seen=seen, states=states)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def without_clock(folder: Path) -> tuple:
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    stages = {
        name: {key: value for key, value in entry.items() if key not in CLOCK}
        for name, entry in results["stages"].items()
    }
    return stages, [{key: value for key, value in row.items() if key not in CLOCK} for row in rows(folder)]


def test_neither_log_nor_callbacks_nor_kills_change_a_bit(tracked, short):
    assert without_clock(tracked.folder) == without_clock(short.workdir)
    found, expected = (
        keras.saving.load_model(folder / "model" / "derived.keras", compile=False).get_weights()
        for folder in (tracked.folder, short.workdir)
    )
    assert len(found) > 10
    assert all(a.tobytes() == b.tobytes() for a, b in zip(found, expected, strict=True))


def test_a_killed_run_goes_on_in_the_same_run_of_mlflow(tracked):
    (run,) = runs(tracked.uri).values()
    assert tracked.states == {"run": "FAILED"}, "of an error that is no signal"
    assert run.info.status == "FINISHED"
    state = json.loads((tracked.folder / "mlflow.json").read_text(encoding="utf-8"))
    assert state["run_id"] == run.info.run_id


def test_every_epoch_is_there_once_with_what_metrics_csv_says(tracked):
    (run,) = runs(tracked.uri).values()
    logged = 0
    for stage in ("supernet training", "mask search", "fine-tuning"):
        own = [row for row in rows(tracked.folder) if row["stage"] == stage]
        for column in set(own[0]) - {"stage", "epoch", "strongest"}:
            expected = {int(row["epoch"]): float(row[column]) for row in own if row[column]}
            if not expected:
                continue
            logged += 1
            history = connect(tracked.uri).client.get_metric_history(run.info.run_id, f"{stage}/{column}")
            assert [point.step for point in history] == list(expected)
            if column not in CLOCK:
                assert {point.step: point.value for point in history} == expected
    assert logged > 15


def test_flags_results_and_files_are_there(tracked):
    (run,) = runs(tracked.uri).values()
    lines = (tracked.folder / "run.flags").read_text(encoding="utf-8").splitlines()
    assert run.data.params == flag_values(lines)
    results = json.loads((tracked.folder / "results.json").read_text(encoding="utf-8"))
    metrics = run.data.metrics
    for stage, entry in results["stages"].items():
        for name in ("test_error", "params", "epochs", "seconds"):
            assert metrics[f"results/stages/{stage}/{name}"] == entry[name]
    assert metrics["results/artifacts/keras/bytes"] == results["artifacts"]["keras"]["bytes"]
    assert metrics["results/derived/flops"] == results["derived"]["flops"]
    assert files(run) >= {
        "run.flags",
        "results.json",
        "metrics.csv",
        "architecture.jsonl",
        "genotype.json",
        "report.html",
        "model/derived.keras",
        "model/README.md",
    }
    for name in files(run):
        logged = Path(run.info.artifact_uri.removeprefix("file://")) / name
        assert logged.read_bytes() == (tracked.folder / name).read_bytes()
    assert run.data.tags["mlflow.source.name"] == "hmnas_tf"


def test_a_store_that_fails_is_told_once_and_gets_what_is_missing_later(tracked):
    told = [line for line in tracked.lines if "MLflow" in line]
    assert len(told) == 2, "of three epochs and a stage in which it failed"
    assert told[0].startswith(f"Warning: MLflow at {tracked.uri} failed (")
    assert "no such table: metrics" in told[0]
    assert "\n" not in told[0]
    assert told[1] == f"MLflow at {tracked.uri} answers again, and has what was missing"


def test_callbacks_of_a_run_that_goes_on_see_the_epochs_that_are_left(tracked):
    whole = [("supernet", e) for e in range(3)] + [("searched", e) for e in range(2)]
    assert [(stage, epoch) for stage, epoch, _ in tracked.seen] == [
        *whole,
        ("finetuned", 0),  # the end that was killed was told to nobody
        ("finetuned", 1),
    ]
    errors = [error for stage, _, error in tracked.seen if stage == "supernet"]
    logged = [float(r["test_error"]) for r in rows(tracked.folder) if r["stage"] == "supernet training"]
    assert errors == pytest.approx(logged)


def test_a_finished_run_is_logged_without_a_network_and_only_once(folder, store, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("nobody is to be asked"))
    for _ in range(2):
        log_folder(folder, store)
    (run,) = runs(store).values()
    assert steps(store, run, "supernet training/loss") == [1, 2, 3]
    assert steps(store, run, "results/stages/finetuned/test_error") == [0]
    assert "report.html" in files(run)


def test_a_run_whose_id_was_not_written_down_is_found_again(folder, store):
    log_folder(folder, store)
    state = json.loads((folder / "mlflow.json").read_text(encoding="utf-8"))
    (folder / "mlflow.json").write_text(json.dumps({key: state[key] for key in ("uri", "key", "files")}))
    log_folder(folder, store)
    assert runs(store)["run"].info.run_id == state["run_id"]


def test_a_run_of_mlflow_that_is_deleted_is_told_before_anything_is_done(folder, store, short, patterns):
    log_folder(folder, store)
    connect(store).client.delete_run(runs(store)["run"].info.run_id)
    lines: list[str] = []
    with pytest.raises(ValueError, match=r"of MLflow is deleted; restore it, or remove .*mlflow\.json"):
        hmnas_tf.search(patterns, settings(short, store), folder, say=lines.append)
    assert not [line for line in lines if line.startswith("Warning")]
    state = json.loads((folder / "mlflow.json").read_text(encoding="utf-8"))
    (folder / "mlflow.json").write_text(json.dumps(state | {"run_id": "0" * 32}))
    with pytest.raises(ValueError, match=f"the run {'0' * 32} of MLflow is deleted"):
        hmnas_tf.search(patterns, settings(short, store), folder)


def settings(short, uri: str) -> Config:
    return dataclasses.replace(short.config, mlflow=uri)


def test_another_store_gets_another_run(folder, store, empty, tmp_path):
    log_folder(folder, store)
    (tmp_path / "second").mkdir()
    second = a_copy(empty, tmp_path / "second")
    log_folder(folder, second)
    assert runs(second)["run"].info.run_id != runs(store)["run"].info.run_id
    assert steps(second, runs(second)["run"], "mask search/loss") == [1, 2]


def test_a_state_that_cannot_be_read_is_named(folder, store, short, patterns):
    (folder / "mlflow.json").write_text("[]")
    with pytest.raises(ValueError, match=r"mlflow\.json cannot be read"):
        hmnas_tf.search(patterns, settings(short, store), folder)


def test_a_store_that_fails_is_left_alone_for_a_while(folder, store, monkeypatch):
    lines: list[str] = []
    tracker, now = Tracker(folder, store, lines.append), [100.0]
    monkeypatch.setattr(tracking.time, "monotonic", lambda: now[0])
    tried = []
    monkeypatch.setattr(tracking, "connect", lambda uri: tried.append(uri) or 1 / 0)
    tracker.log()
    tracker.log()
    assert len(tried) == 1
    now[0] += tracking.PATIENCE
    tracker.log()
    tracker.log(files=True)
    assert len(tried) == 3

    def hang(uri: str) -> None:
        tried.append(uri)
        now[0] += 22.0
        raise TimeoutError

    monkeypatch.setattr(tracking, "connect", hang)
    tracker.log(files=True)
    for _ in range(21):
        now[0] += 20.0
        tracker.log()
    assert len(tried) == 4
    now[0] += 20.0
    tracker.log()
    assert len(tried) == 5
    assert len(lines) == 1
    monkeypatch.undo()
    with tracker.running():
        pass
    assert lines[1:] == [f"MLflow at {store} answers again, and has what was missing"]


def test_a_run_that_ends_without_its_store_says_so(folder, store):
    lines: list[str] = []
    with Tracker(folder, store, lines.append).running():
        break_it(store, "runs")
    assert len(lines) == 2
    assert lines[1] == f"Warning: MLflow at {store} lacks a part of this run: start the same command again."
    mend_it(store, "runs")
    with Tracker(folder, store).running():
        pass
    run = runs(store)["run"]
    assert run.info.status == "FINISHED"
    assert steps(store, run, "fine-tuning/loss") == [1, 2]


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt, "KILLED"), (SystemExit, "KILLED"), (ValueError, "FAILED")]
)
def test_a_run_that_ends_early_says_how(error, status, folder, store):
    tracker = Tracker(folder, store)
    with pytest.raises(error), tracker.running():
        assert runs(store)["run"].info.status == "RUNNING"
        raise error
    assert runs(store)["run"].info.status == status


def test_what_stands_in_the_way_is_told_before_training(patterns, make_config, tmp_path, monkeypatch):
    (tmp_path / "text.db").write_text(
        "this is no database, and long enough to be told from an empty one" * 20
    )
    lines: list[str] = []
    for uri, words in (
        (f"sqlite:///{tmp_path}/text.db", "file is not a database"),
        (f"sqlite:///{tmp_path}", "unable to open database file"),
        ("http://127.0.0.1:9", "cannot be logged in"),
        (f"file://{tmp_path}/runs", "MLFLOW_ALLOW_FILE_STORE"),
        ("nonsense://x", "unsupported URI"),
    ):
        with pytest.raises(ValueError, match="^mlflow=") as caught:
            hmnas_tf.search(patterns, make_config(mlflow=uri), tmp_path / "run", say=lines.append)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)
    monkeypatch.setattr(mlflow_store, "_MODULES", ("mlflow", "no_such_package"))
    with pytest.raises(ImportError, match=r"missing no_such_package; pip install 'hmnas_tf\[mlflow\]'"):
        require_store("http://127.0.0.1:9")
    require_store("")
    assert not (tmp_path / "run").exists()
    assert not [line for line in lines if "stage" in line.lower()]


def test_a_store_of_files_works_where_mlflow_is_told_to(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = f"file://{tmp_path}/files"
    for _ in range(2):
        log_folder(folder, uri)
    (run,) = runs(uri).values()
    assert steps(uri, run, "fine-tuning/loss") == [1, 2]
    assert "model/derived.keras" in files(run)


def parent(run) -> str:
    return run.data.tags["mlflow.parentRunId"]


def test_networks_of_several_sizes_are_parts_of_their_run(folder, short, patterns, store):
    config = settings(short, store)
    for _ in range(2):  # the second time they are only read
        pareto(patterns, config, folder, networks({"parameters": [500]}))
        found = runs(store)
        assert set(found) == {"run", "parameters_500"}
        whole, part = found["run"], found["parameters_500"]
        assert parent(part) == whole.info.run_id
        assert "mlflow.parentRunId" not in whole.data.tags
        assert {"pareto/pareto.csv", "pareto/pareto.svg", "report.html"} <= files(whole)
        assert part.info.status == whole.info.status == "FINISHED"
        assert steps(store, part, "mask search/loss") == [1, 2]
        assert part.data.params["max_parameters"] == "500"
        assert whole.data.params["max_parameters"] == "0"


@pytest.fixture
def instead_of_search(short):
    """Returns what puts the shortest run into a folder and logs it, as a search would."""

    def search(dataset, config, workdir, say=None):
        shutil.copytree(short.workdir, workdir, dirs_exist_ok=True)
        Tracker(workdir, config.mlflow, say).log(files=True)
        return SimpleNamespace(results=short.result.results)

    return search


def test_cells_of_an_ablation_are_parts_of_it(
    short, patterns, store, tmp_path, instead_of_search, monkeypatch
):
    monkeypatch.setattr(ablation, "search", instead_of_search)
    config = settings(short, store)
    ablation.ablate(patterns, config, tmp_path / "all", variants=["multi_level_masks"], seeds=2)
    found = runs(store)
    assert set(found) == {"all", "multi_level_masks/seed0", "multi_level_masks/seed1"}
    whole = found.pop("all")
    assert {parent(part) for part in found.values()} == {whole.info.run_id}
    assert {"ablation.md", "ablation.csv", "ablation.svg"} <= files(whole)
    assert whole.data.params["variants"] == "multi_level_masks"
    assert whole.data.params["initial_channels"] == "4"
    assert whole.info.status == "FINISHED"


def test_trials_are_parts_of_their_tuning(short, patterns, store, tmp_path, instead_of_search, monkeypatch):
    monkeypatch.setattr(tuning, "search", instead_of_search)
    plan = Tuning(tuner="random", hyperparameters=("threshold",), trials=2)
    tuning.tune(patterns, settings(short, store), tmp_path / "all", plan)
    found = runs(store)
    assert set(found) == {"all", "trial_0", "trial_1"}
    whole = found.pop("all")
    assert {parent(part) for part in found.values()} == {whole.info.run_id}
    assert {"leaderboard.md", "leaderboard.csv", "best.flags", "tune.flags"} <= files(whole)
    assert whole.data.params["tuner"] == "random"
    assert whole.info.status == "FINISHED"
