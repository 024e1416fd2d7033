"""A tuning that is killed goes on within its trials; several tuners share them; bad input is one line."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest
from forked import Command, refused, wait_for
from test_kills import arrays, kill, rows

pytestmark = pytest.mark.slow

TRIALS = 2
TUNING = (
    "--supernet_epochs=2",
    "--mask_epochs=1",
    "--finetune_epochs=1",
    "--tuner=random",
    "--hyperparameters=threshold,weight_learning_rate",
    f"--trials={TRIALS}",
    "--holdout=0.2",
)


@pytest.fixture(scope="module")
def tuned(smallest, tmp_path_factory) -> Path:
    """The folder of a tuning that was never interrupted."""
    folder = tmp_path_factory.mktemp("tuned")
    command = Command("tune", [*smallest(folder / "run"), *TUNING], folder / "printed")
    assert command.wait() == 0, command.complained
    assert "error on held-out training images %" in command.shown
    assert "Warning: trials are compared on the test images" not in command.shown
    return folder / "run"


def leaderboard(run: Path) -> dict[str, dict[str, str]]:
    return {row["threshold"]: row for row in rows(run / "leaderboard.csv")}


def test_killed_within_trials_it_is_uninterrupted(smallest, tuned, tmp_path):
    run = tmp_path / "run"
    for trial, stage in enumerate(("searched", "finetuned")):
        place = run / "trials" / f"trial_{trial}" / "run"
        command = Command("tune", [*smallest(run), *TUNING], tmp_path / f"killed in {stage}")
        kill(command, place, stage, False, 0.02)
        assert "| running |" in (run / "leaderboard.md").read_text(encoding="utf-8")
    command = Command("tune", [*smallest(run), *TUNING], tmp_path / "last")
    assert command.wait() == 0, command.complained
    assert "trial 0 of" not in command.shown
    assert leaderboard(run) == leaderboard(tuned)
    for trial in range(TRIALS):
        found, expected = (arrays(each / "trials" / f"trial_{trial}" / "run") for each in (run, tuned))
        assert found.keys() == expected.keys()
        assert [name for name in found if found[name].tobytes() != expected[name].tobytes()] == []


def test_four_trials_on_digits_survive_kills(smallest, tmp_path):
    run = tmp_path / "run"
    more = ("--dataset=digits", "--train_examples=200", "--test_examples=40", "--trials=4")
    arguments = [*smallest(run), *TUNING, *more]
    for trial in (1, 3):
        command = Command("tune", arguments, tmp_path / f"killed in trial {trial}")
        kill(command, run / "trials" / f"trial_{trial}" / "run", "supernet", False, 0.02)
    command = Command("tune", arguments, tmp_path / "last")
    assert command.wait() == 0, command.complained
    assert next(line for line in command.shown.splitlines() if line.startswith("trial ")).startswith(
        "trial 3 of 4"
    )
    found = rows(run / "leaderboard.csv")
    assert sorted(row["trial"] for row in found) == [f"trial_{trial}" for trial in range(4)]
    assert {row["status"] for row in found} == {"completed"}
    scores = [float(row["score"]) for row in found]
    assert scores == sorted(scores)
    assert (run / "best.flags").exists()


def test_terminated_it_says_so_and_another_may_not_enter(smallest, tuned, tmp_path):
    run = tmp_path / "run"
    command = Command("tune", [*smallest(run), *TUNING], tmp_path / "first")
    wait_for(lambda: (run / "trials" / "trial_0" / "run" / "checkpoints" / "supernet").exists(), command)
    refused(Command("tune", [*smallest(run), *TUNING], tmp_path / "second"), [str(run), "in use by process"])
    command.send(signal.SIGTERM)
    assert command.wait() == 143, command.complained


def test_a_chief_and_two_workers_make_the_same_trials(smallest, tuned, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    run = tmp_path / "run"
    address = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": port}
    commands = {
        name: Command(
            "tune",
            [*smallest(run), *TUNING],
            tmp_path / name,
            environment=address | {"KERASTUNER_TUNER_ID": name},
        )
        for name in ("chief", "tuner0", "tuner1")
    }
    assert {name: command.wait() for name, command in commands.items()} == dict.fromkeys(commands, 0)
    assert "it waits for workers" in commands["chief"].shown
    assert "score (both)" in commands["chief"].shown
    for name in ("tuner0", "tuner1"):
        assert commands[name].shown.count(": score ") == 1, "each has made one"
    assert leaderboard(run).keys() == leaderboard(tuned).keys()
    for threshold, row in leaderboard(run).items():
        expected = leaderboard(tuned)[threshold]
        assert row["score"] == expected["score"]


REFUSED = {
    "--tuner=grid": ("tuner", "grid", "bayesian"),
    "--objective=speed": ("objective", "speed", "test_error"),
    "--trials=-1": ("trials", "-1"),
    "--halving_worth=-0.5": ("halving_worth", "-0.5"),
    "--hyperparameters=depth": ("hyperparameters", "depth", "threshold"),
    "--hyperparameters=threshold:0.001": ("threshold:0.001", "NAME:LOW:HIGH"),
    "--hyperparameters=weight_mask_rate": ("weight_mask_rate", "--mask_rates=absolute"),
    "--holdout=0.95": ("holdout", "0.95"),
    "--holdout=0.001": ("holdout", "0.001", "larger share"),
}


@pytest.mark.parametrize("argument", REFUSED)
def test_bad_input_is_one_line(argument, smallest, tmp_path):
    command = Command("tune", [*smallest(tmp_path / "run"), argument], tmp_path / "printed")
    refused(command, REFUSED[argument])
    assert not (tmp_path / "run").exists()


def test_half_an_address_is_refused(smallest, tmp_path):
    environment = {"KERASTUNER_ORACLE_IP": "127.0.0.1"}
    command = Command("tune", smallest(tmp_path / "run"), tmp_path / "printed", environment=environment)
    refused(command, ["KERASTUNER_ORACLE_PORT", "KERASTUNER_TUNER_ID"])
