"""A run killed at any border of its stages ends with the bits of one that was never interrupted."""

from __future__ import annotations

import json
import shutil

import keras
import numpy as np
import pytest

import hmnas_tf

BORDERS = (  # the beginning of the line after which the machine goes down
    "supernet training epoch   2/3",
    "supernet training: test error",
    "mask search       epoch   1/2",
    "derivation: cell 0",
    "fine-tuning       epoch   2/2",
    "export:",
)


class Killed(Exception):
    """Stands for a machine that goes down."""


def entries(folder) -> dict:
    """Returns results without what depends on the clock."""
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    for stage in results["stages"].values():
        del stage["seconds"]
    for artifact in results.get("artifacts", {}).values():
        for name in ("bytes", "gzip_bytes", "sha256", "seconds"):  # an archive holds the time it was written
            del artifact[name]
    return results


def weights(folder) -> list[np.ndarray]:
    return keras.saving.load_model(folder / "model" / "derived.keras", compile=False).get_weights()


def epochs(folder) -> list[list[str]]:
    rows = (folder / "metrics.csv").read_text(encoding="utf-8").splitlines()
    return [row.split(",")[:-1] for row in rows]


def assert_the_same_run(folder, other) -> None:
    assert entries(folder) == entries(other)
    assert epochs(folder) == epochs(other)
    for name in ("genotype.json", "architecture.jsonl"):
        assert (folder / name).read_bytes() == (other / name).read_bytes()
    found, expected = weights(folder), weights(other)
    assert len(found) == len(expected) > 10
    assert all(a.tobytes() == b.tobytes() for a, b in zip(found, expected, strict=True))


def test_killed_at_every_border_is_uninterrupted(short, patterns, tmp_path):
    for border in BORDERS:

        def say(line: str, border: str = border) -> None:
            if line.startswith(border):
                raise Killed

        with pytest.raises(Killed):
            hmnas_tf.search(patterns, short.config, tmp_path / "run", say=say)
    hmnas_tf.search(patterns, short.config, tmp_path / "run")
    assert_the_same_run(tmp_path / "run", short.workdir)


LOST = [
    (("artifacts",), "kept"),
    (("artifacts", "finetuned"), "lost"),
    (("artifacts", "finetuned", "searched"), "kept"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("lost", "checkpoints"), LOST, ids=str)
def test_results_that_are_lost_are_made_again(lost, checkpoints, short, run, tmp_path):
    shutil.copytree(short.workdir, tmp_path / "run")
    results = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))
    for name in lost:
        results.pop(name, None)
        results["stages"].pop(name, None)
        if checkpoints == "lost" and name != "artifacts":
            shutil.rmtree(tmp_path / "run" / "checkpoints" / name)
    (tmp_path / "run" / "results.json").write_text(json.dumps(results), encoding="utf-8")
    run(short.config, tmp_path / "run")
    assert_the_same_run(tmp_path / "run", short.workdir)
