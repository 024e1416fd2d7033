"""A search that is killed or told to stop goes on in the same run of MLflow, as one that never was."""

from __future__ import annotations

import signal

import pytest
from forked import Command, refused, wait_for

from hmnas_tf.runs.mlflow_store import connect

pytestmark = pytest.mark.slow

EPOCHS = {"supernet training": 2, "mask search": 1, "fine-tuning": 1}
LESS = ("--supernet_epochs=2", "--mask_epochs=1", "--finetune_epochs=1", "--formats=keras")
ADDRESS = "--mlflow=sqlite:///mlflow.db"  # in the folder that the command is started in


def test_killed_and_stopped_it_is_one_run_of_mlflow(smallest, tmp_path):
    run, statuses, ids = tmp_path / "run", [], set()

    def start(name: str) -> Command:
        return Command("search", [*smallest(run), *LESS, ADDRESS], tmp_path / name, directory=tmp_path)

    def look() -> None:
        store = connect(f"sqlite:///{tmp_path / 'mlflow.db'}")
        (found,) = store.client.search_runs([store.experiment])
        statuses.append(found.info.status)
        ids.add(found.info.run_id)

    for stage, number in (("searched", signal.SIGKILL), ("finetuned", signal.SIGTERM)):
        command = start(stage)
        wait_for(lambda stage=stage: any((run / "checkpoints" / stage).glob("*.index")), command)
        command.send(number)
        assert command.wait() == {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 143}[number]
        look()
    command = start("last")
    assert command.wait() == 0, command.complained
    look()
    assert statuses == ["RUNNING", "KILLED", "FINISHED"]
    (run_id,) = ids
    store = connect(f"sqlite:///{tmp_path / 'mlflow.db'}")
    for stage, epochs in EPOCHS.items():
        history = store.client.get_metric_history(run_id, f"{stage}/loss")
        assert [point.step for point in history] == list(range(1, epochs + 1))
    assert (tmp_path / "mlruns" / "hmnas_tf" / run_id / "artifacts" / "report.html").exists()
    assert "mlflow" not in command.complained.lower(), "nothing of its own is printed"


def test_an_address_that_is_none_is_one_line(smallest, tmp_path):
    for uri, words in (
        ("mlruns", ["mlflow='mlruns' is no address", "expected sqlite:///FILE"]),
        ("http://me:secret@host", ["has a password in it"]),
        ("http://127.0.0.1:9", ["mlflow=http://127.0.0.1:9 cannot be logged in", "leave --mlflow out"]),
    ):
        command = Command("search", [*smallest(tmp_path / "run"), f"--mlflow={uri}"], tmp_path / "out")
        refused(command, words)
        assert not (tmp_path / "run").exists()
