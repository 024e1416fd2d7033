"""Several workers compute what one process computes, and go on together after one of them was lost."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from forked import STAGES, Command, refused, wait_for

from hmnas_tf.runs.mlflow_store import connect

pytestmark = pytest.mark.slow


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def start(arguments: Sequence[str], output: Path) -> list[Command]:
    """Starts two workers on this machine with one command line."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
    tasks = [{"cluster": cluster, "task": {"type": "worker", "index": index}} for index in range(2)]
    return [
        Command("search", arguments, output / str(index), {"TF_CONFIG": json.dumps(task)})
        for index, task in enumerate(tasks)
    ]


@pytest.fixture(scope="module")
def arguments(smallest) -> Callable[[Path], Sequence[str]]:
    # Few steps, because Adam makes the rounding errors of small gradients as large as its rate.
    less = ("--supernet_epochs=2", "--mask_epochs=1", "--finetune_epochs=1", "--checkpoint_steps=2")
    return lambda workdir: (*smallest(workdir), *less)


@pytest.fixture(scope="module")
def two(arguments, tmp_path_factory) -> Path:
    """The folder of a search by two workers; they are lost within a stage, and started again."""
    folder = tmp_path_factory.mktemp("workers")
    run = folder / "run"
    typed = (*arguments(run), f"--mlflow=sqlite:///{folder / 'mlflow.db'}")
    commands = start(typed, folder / "first")
    wait_for(lambda: any((run / "checkpoints" / "searched").glob("ckpt-4.index")), commands[0])
    copy = run / "workers" / "1" / "checkpoints" / "supernet.npz"
    assert copy.read_bytes() == (run / "checkpoints" / "supernet.npz").read_bytes(), (
        "workers have the same bits"
    )
    commands[1].send(signal.SIGKILL)
    assert commands[1].wait() == -signal.SIGKILL
    assert commands[0].wait() == 2, "the other one must not hang"
    assert "start the same command on all workers again" in commands[0].complained.splitlines()[-1]
    commands = start(typed, folder / "second")
    assert [command.wait() for command in commands] == [0, 0], [command.complained for command in commands]
    assert commands[1].shown == ""
    return run


def test_two_workers_are_one_run_of_mlflow(two):
    store = connect(f"sqlite:///{two.parent / 'mlflow.db'}")
    (found,) = store.client.search_runs([store.experiment])
    assert found.info.status == "FINISHED"
    history = store.client.get_metric_history(found.info.run_id, "supernet training/loss")
    assert [point.step for point in history] == [1, 2]


def variables(run: Path, stage: str) -> list[np.ndarray]:
    with np.load(run / "checkpoints" / f"{stage}.npz") as file:
        return [file[name] for name in file.files]


def test_two_workers_are_one_process(two, arguments, tmp_path):
    command = Command("search", arguments(tmp_path / "run"), tmp_path / "printed")
    assert command.wait() == 0, command.complained
    for stage in STAGES:
        found, expected = variables(two, stage), variables(tmp_path / "run", stage)
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * max(1, np.abs(b).max()))


def test_lost_and_started_again_they_are_uninterrupted(two, arguments, tmp_path):
    commands = start(arguments(tmp_path / "run"), tmp_path / "printed")
    assert [command.wait() for command in commands] == [0, 0], [command.complained for command in commands]
    for stage in STAGES:
        path = f"checkpoints/{stage}.npz"
        assert (two / path).read_bytes() == (tmp_path / "run" / path).read_bytes()


def test_only_the_chief_leaves_anything(two):
    assert not (two / "workers").exists()
    results = json.loads((two / "results.json").read_text(encoding="utf-8"))
    assert results["machine"]["replicas"] == 2
    assert (two / "model" / "derived.keras").exists()


@pytest.mark.parametrize(
    ("flag", "words"),
    [("--replicas=2", "CUDA_VISIBLE_DEVICES"), ("--finetune_batch_size=15", "multiple of 2")],
)
def test_what_several_workers_cannot_do_is_refused(flag, words, arguments, tmp_path):
    for command in start([*arguments(tmp_path / "run"), flag], tmp_path / "printed"):
        refused(command, [flag.removeprefix("--"), words])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["ablate", "tune"])
def test_a_command_of_many_runs_is_not_for_several_workers(name, smallest, tmp_path):
    task = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}
    environment = {"TF_CONFIG": json.dumps(task)}
    refused(
        Command(name, smallest(tmp_path / "run"), tmp_path / "printed", environment),
        ["TF_CONFIG", "docs/scaling.md"],
    )
