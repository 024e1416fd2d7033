"""A search that is killed again and again, at any moment, ends with the bits of one that never was."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from forked import STAGES, Command, wait_for

pytestmark = pytest.mark.slow

KILLS = 3  # of every stage, two of them in a save
LESS = ("--supernet_epochs=2", "--mask_epochs=1", "--finetune_epochs=1")


def checkpoints(run: Path, stage: str) -> set[str]:
    return {path.stem for path in (run / "checkpoints" / stage).glob("ckpt-*.index")}


def kill(command: Command, run: Path, stage: str, in_a_save: bool, delay: float) -> bool:
    """Kills a search some time after its first new checkpoint; returns whether it was writing another."""
    before = checkpoints(run, stage)
    wait_for(lambda: checkpoints(run, stage) - before, command)
    folder = run / "checkpoints" / stage
    if in_a_save:
        wait_for(lambda: any(folder.glob("*_temp")), command)
    else:
        time.sleep(delay)
    command.send(signal.SIGKILL)
    assert command.wait() == -signal.SIGKILL
    return any(folder.glob("*_temp"))


def arrays(run: Path, stages: Sequence[str] = STAGES) -> dict[str, np.ndarray]:
    """Returns all variables that a search leaves: of networks, optimizers, masks, averages and metrics."""
    found = {}
    for stage in stages:
        with np.load(run / "checkpoints" / f"{stage}.npz") as file:
            found |= {f"{stage} {name}": file[name] for name in file.files}
        newest = tf.train.load_checkpoint(str(run / "checkpoints" / stage))
        names = [name for name in newest.get_variable_to_shape_map() if name.startswith("state/")]
        found |= {f"{stage} {name}": newest.get_tensor(name) for name in names}
    return found


def rows(table: Path) -> list[dict[str, str]]:
    """Returns a table without what depends on the clock."""
    with table.open(newline="", encoding="utf-8") as file:
        return [
            {name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)
        ]


def assert_the_same(run: Path, other: Path, epochs: int, stages: Sequence[str] = STAGES) -> None:
    found, expected = arrays(run, stages), arrays(other, stages)
    assert found.keys() == expected.keys()
    assert len(found) > 100
    assert [name for name in found if found[name].tobytes() != expected[name].tobytes()] == []
    metrics = rows(run / "metrics.csv")
    assert metrics == rows(other / "metrics.csv")
    assert len({(row["stage"], row["epoch"]) for row in metrics}) == len(metrics) == epochs
    for name in ("genotype.json", "architecture.jsonl"):
        assert (run / name).read_bytes() == (other / name).read_bytes()


def test_killed_at_random_it_is_uninterrupted(smallest, finished, tmp_path):
    chance, run, kills = random.Random(0), tmp_path / "run", Counter()
    for stage in STAGES:
        for number in range(KILLS):
            command = Command("search", smallest(run), tmp_path / f"{stage}{number}")
            kills[kill(command, run, stage, number != 1, chance.uniform(0, 0.05))] += 1
        before = checkpoints(run, stage)
        command = Command("search", smallest(run), tmp_path / f"{stage} terminated")
        wait_for(lambda stage=stage, before=before: checkpoints(run, stage) - before, command)
        command.send(signal.SIGTERM)
        assert command.wait() == 143
    assert kills.total() == 3 * KILLS
    assert kills[True] >= 3, "so many were inside a save"
    command = Command("search", smallest(run), tmp_path / "last")
    assert command.wait() == 0, command.complained
    assert_the_same(run, finished, epochs=8)
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    assert results["stages"].keys() == set(STAGES)


def test_an_ablation_that_is_killed_is_uninterrupted(smallest, tmp_path):
    run, more = tmp_path / "run", (*LESS, "--variants=multi_level_masks,masks_random_weights", "--seeds=1")
    for place, stage in (("multi_level_masks", "searched"), ("masks_random_weights", "finetuned")):
        command = Command("ablate", [*smallest(run), *more], tmp_path / f"{place} killed")
        kill(command, run / place / "seed0", stage, False, 0.02)
    folders = (run, tmp_path / "whole")
    commands = [
        Command("ablate", [*smallest(path), *more], tmp_path / f"{path.name}.out") for path in folders
    ]
    assert [command.wait() for command in commands] == [0, 0]
    tables = [rows(path / "ablation.csv") for path in folders]
    assert tables[0] == tables[1]
    assert len(tables[0]) >= 2


def test_a_seed_is_a_result(smallest, tmp_path):
    """Killing shows it for operations as they are; these are TensorFlow's deterministic ones, which give other bits."""
    seeds = {"one": 0, "same": 0, "other": 1}
    commands = [
        Command(
            "search",
            [*smallest(tmp_path / name), *LESS, "--deterministic", f"--seed={seed}"],
            tmp_path / f"{name}.out",
        )
        for name, seed in seeds.items()
    ]
    assert [command.wait() for command in commands] == [0, 0, 0]
    assert_the_same(tmp_path / "one", tmp_path / "same", epochs=4)
    found, expected = arrays(tmp_path / "other"), arrays(tmp_path / "one")
    assert any(found[name].tobytes() != expected[name].tobytes() for name in found if name in expected)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) == 1, reason="there is one core")
def test_on_one_core_it_is_the_same_as_on_two(smallest, tmp_path):
    larger = ("--initial_channels=16", "--operations=sep_conv_3x3,max_pool_3x3,identity", *LESS)
    cores = sorted(os.sched_getaffinity(0))
    for count in (1, 2):
        name = f"on {count}"
        command = Command("search", (*smallest(tmp_path / name), *larger), tmp_path, cores=cores[:count])
        assert command.wait() == 0, command.complained
    assert_the_same(tmp_path / "on 1", tmp_path / "on 2", epochs=4)


def test_escape_codes_are_for_terminals(finished):
    shown = (finished.parent / "printed" / "out").read_text(encoding="utf-8")
    assert "epoch" in shown
    assert not [character for character in shown if ord(character) < 32 and character != "\n"]


def test_the_manifest_says_what_ran(finished):
    results = json.loads((finished / "results.json").read_text(encoding="utf-8"))
    assert results["machine"]["replicas"] == 1
    assert any("CPU" in device for device in results["machine"]["devices"])
    assert {"python", "tensorflow", "keras"} <= results["versions"].keys()
    assert results["seed"] == 0
    assert results["git_commit"] is None or len(results["git_commit"].removesuffix("-dirty")) == 40
    assert "--seed=0" in (finished / "run.flags").read_text(encoding="utf-8")
