"""A run killed at any border of its stages ends with the bits of one that was never interrupted."""

from __future__ import annotations

import json
import shutil
import zipfile

import keras
import numpy as np
import pytest

import hmnas_tf
from hmnas_tf.runtimes.archive import LABELLING, read_labelling

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
    for name in ("genotype.json", "architecture.jsonl"):  # the latter of a search only
        assert (folder / name).exists() == (other / name).exists() >= (name == "genotype.json")
        if (other / name).exists():
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


@pytest.mark.slow
def test_a_recipe_with_everything_is_uninterrupted_too(short, make_config, patterns, tmp_path):
    """The best epoch of an average of weights, taught, in mixed precision, with weights of classes and a warm-up."""
    config = make_config(
        genotype=str(short.workdir / "genotype.json"),
        initial_weights="random",
        teacher=str(short.workdir / "model" / "derived.keras"),
        class_weights="balanced",
        holdout=0.2,
        keep="best",
        patience=2,
        weight_average=0.9,
        finetune_epochs=4,
        finetune_warmup_epochs=1,
        mixed_precision=True,
    )
    lines: list[str] = []
    whole = hmnas_tf.search(patterns, config, tmp_path / "whole", say=lines.append)
    for border in ("fine-tuning       epoch   2/4", "fine-tuning: epoch"):

        def say(line: str, border: str = border) -> None:
            if line.startswith(border):
                raise Killed

        with pytest.raises(Killed):
            hmnas_tf.search(patterns, config, tmp_path / "run", say=say)
    hmnas_tf.search(patterns, config, tmp_path / "run")
    assert_the_same_run(tmp_path / "run", tmp_path / "whole")
    results = whole.results
    assert (results["dataset"]["train_examples"], results["dataset"]["test_examples"]) == (128, 32)
    assert results["teacher"]["test_error"] < results["teacher"]["student"]
    assert not [line for line in lines if "the teacher is worse" in line]
    final = results["stages"]["finetuned"]
    measured = [(float(row[4]), int(row[1])) for row in epochs(tmp_path / "whole")[1:]]
    assert len(measured) == final["epochs"]
    error = min(measured)[0]
    assert final["test_error"] == pytest.approx(error, abs=1e-3)
    assert (error, final["best_epoch"]) in measured
    assert final["epochs"] in (4, final["best_epoch"] + 2)
    assert any(f"epoch {final['best_epoch']} is kept" in line for line in lines)


@pytest.mark.slow
def test_a_teacher_that_is_worse_is_told_and_must_stay_the_same_file(
    short, run, make_config, patterns, tmp_path
):
    teacher = keras.saving.load_model(short.workdir / "model" / "derived.keras", compile=False)
    classifier = next(layer for layer in teacher.layers if isinstance(layer, keras.layers.Dense))
    classifier.set_weights(
        [np.roll(value, 1, axis=-1) for value in classifier.get_weights()]
    )  # takes ants for bees
    path = tmp_path / "teacher.keras"

    def save() -> None:
        teacher.save(path)  # without what the exporter adds
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(LABELLING, read_labelling(short.workdir / "model" / "derived.keras"))

    save()
    settings = dict(
        genotype=str(short.workdir / "genotype.json"), initial_weights="random", finetune_epochs=1
    )
    config = make_config(teacher=str(path), **settings)
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        if line.startswith("fine-tuning       epoch"):
            raise Killed

    with pytest.raises(Killed):
        hmnas_tf.search(patterns, config, tmp_path / "run", say=say)
    (warning,) = (line for line in lines if line.startswith("Warning: the teacher"))
    told = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))["teacher"]
    assert told["test_error"] > told["student"]
    assert f"{told['test_error']:.2f} % error" in warning
    classifier.set_weights([2 * value for value in classifier.get_weights()])
    save()
    with pytest.raises(ValueError, match="is not the file that this run began with"):
        hmnas_tf.search(patterns, config, tmp_path / "run")


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
