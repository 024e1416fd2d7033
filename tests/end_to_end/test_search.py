"""Algorithm 1 as a whole: what a run leaves behind, that its numbers agree, and that a finished run is only read."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
import shutil

import keras
import numpy as np
import pytest

import hmnas_tf
from hmnas_tf.space.genotype import Genotype
from hmnas_tf.storage.run_folder import flag_lines

STAGES = ("supernet", "searched", "finetuned")


def normalised(dataset) -> np.ndarray:
    images = dataset.x_test.astype(np.float32) / 255.0
    return (images - np.float32(dataset.mean)) / np.float32(dataset.std)


def hashes(folder) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def results(whole) -> dict:
    return json.loads((whole.workdir / "results.json").read_text(encoding="utf-8"))


def test_the_folder_holds_what_a_run_leaves(whole):
    files = set(hashes(whole.workdir))
    assert {
        "run.flags",
        "results.json",
        "genotype.json",
        "metrics.csv",
        "architecture.jsonl",
        "model/derived.keras",
        "model/saved_model/1/saved_model.pb",
        "model/model.onnx",
        *(f"checkpoints/{stage}.npz" for stage in STAGES),
    } <= files
    for stage in STAGES:
        assert any(file.startswith(f"tensorboard/{stage}/") for file in files)
    visible = {path.name for path in whole.workdir.iterdir() if not path.name.startswith(".")}
    known = {"run.flags", "results.json", "genotype.json", "report.html", "metrics.csv", "architecture.jsonl"}
    assert visible <= known | {"tensorboard", "checkpoints", "model"}
    assert {path.name for path in (whole.workdir / "model").iterdir()} == {
        "derived.keras",
        "derived_folded.keras",
        "saved_model",
        "serving",
        "model.onnx",
        "model_mobile.onnx",
        "model.tflite",
        "model_fp16.tflite",
        "README.md",
    }


def test_the_flag_file_is_the_configuration(whole):
    lines = (whole.workdir / "run.flags").read_text(encoding="utf-8").splitlines()
    assert lines == flag_lines(whole.config, whole.workdir)


def test_results_have_the_documented_schema(results, whole, patterns):
    manifest = {"versions", "machine", "git_commit", "seed"}
    assert set(results) == {"schema", "dataset", "stages", "derived", "artifacts", *manifest}
    assert results["schema"] == 1
    assert results["seed"] == whole.config.seed
    assert results["dataset"] == patterns.describe()
    assert {"python", "tensorflow", "keras", "numpy"} <= set(results["versions"])
    assert tuple(results["stages"]) == STAGES
    epochs = dict(supernet=3, searched=2, finetuned=2)
    for name, stage in results["stages"].items():
        assert set(stage) == {
            "test_error",
            "scores",
            "params",
            "params_nonzero",
            "flops",
            "epochs",
            "seconds",
        }
        assert 0 <= stage["test_error"] <= 100
        assert 0 < stage["params_nonzero"] <= stage["params"]
        assert stage["flops"] > 0
        assert stage["seconds"] > 0
        assert stage["epochs"] == epochs[name]
    sizes = {"params_dense", "params_nonzero", "flops", "edges", "operations", "folded"}
    assert set(results["derived"]) == sizes
    names = ["keras", "keras_folded", "saved_model", "onnx", "onnx_mobile", "litert", "litert_fp16"]
    assert list(results["artifacts"]) == names
    for name, artifact in results["artifacts"].items():
        assert {"path", "bytes", "gzip_bytes", "max_abs_difference", "test_error"} <= set(artifact)
        assert (whole.workdir / artifact["path"]).exists()
        assert 0 < artifact["gzip_bytes"] < artifact["bytes"]
        assert artifact["max_abs_difference"] < (0.1 if name == "litert_fp16" else 1e-4)
    assert whole.result.results == results


def test_a_run_learns(results):
    errors = [results["stages"][stage]["test_error"] for stage in STAGES]
    assert max(errors) < 40.0, "chance is 75 %"
    assert errors[-1] < 15.0


def test_the_numbers_agree_with_the_network_that_users_load(results, whole, patterns):
    network = keras.saving.load_model(whole.workdir / "model" / "derived.keras", compile=False)
    logits = network.predict(normalised(patterns), verbose=0)
    error = 100 * (logits.argmax(1) != patterns.y_test).mean()
    final = results["stages"]["finetuned"]
    assert final["test_error"] == pytest.approx(error, abs=1e-3)
    for artifact in results["artifacts"].values():
        assert artifact["test_error"] == pytest.approx(error, abs=1e-3)
    params = sum(math.prod(variable.shape) for variable in network.trainable_variables)
    assert results["derived"]["params_dense"] == final["params"] == params
    zeros = sum(
        int((variable.numpy() == 0).sum())
        for variable in network.trainable_variables
        if len(variable.shape) > 1
    )
    assert zeros > 0
    assert results["derived"]["params_nonzero"] == final["params_nonzero"] == params - zeros
    assert results["derived"]["flops"] == final["flops"]
    folded = results["derived"]["folded"]
    assert 0 < folded["params_nonzero"] <= folded["params"] < params
    assert 0 < folded["flops"] <= final["flops"]
    assert final["params"] == results["stages"]["searched"]["params"]


def test_the_result_is_the_network_on_disk(whole, patterns):
    network = keras.saving.load_model(whole.workdir / "model" / "derived.keras", compile=False)
    images = normalised(patterns)
    assert (np.asarray(network(images)) == np.asarray(whole.result.model(images))).all()
    assert {variable.dtype for variable in whole.result.model.variables} == {"float32"}


def test_the_genotype_is_the_architecture_of_the_network(results, whole):
    genotype = Genotype.loads((whole.workdir / "genotype.json").read_text(encoding="utf-8"))
    assert genotype == whole.result.genotype
    assert {name: results["derived"][name] for name in ("edges", "operations")} == genotype.count()
    assert len(genotype.cells) == 2
    built = [
        re.match(r"cell\d+_edge\d+_\d+_[a-z]+(?:_[a-z]*_?\dx\d)?", layer.name)
        for layer in whole.result.model.layers
    ]
    assert len({place[0] for place in built if place}) == genotype.count()["operations"]


def test_metrics_have_a_row_for_every_epoch(whole):
    with (whole.workdir / "metrics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["stage"], int(row["epoch"])) for row in rows] == [
        ("supernet training", 1),
        ("supernet training", 2),
        ("supernet training", 3),
        ("mask search", 1),
        ("mask search", 2),
        ("fine-tuning", 1),
        ("fine-tuning", 2),
    ]
    for row in rows:
        for column in ("loss", "error", "test_error", "learning_rate", "seconds"):
            assert math.isfinite(float(row[column])), (row["stage"], column)
    assert float(rows[0]["architecture_steps"]) == 0, "the first epoch is the warm-up"
    assert float(rows[1]["architecture_steps"]) > 0
    assert [bool(row["operations"]) for row in rows] == [False] * 3 + [True] * 2 + [False] * 2
    for row in rows[:3]:
        counts = [int(part.split(":")[1]) for part in row["strongest"].split(" ")]
        assert sum(counts) == 2, "two edges in the one group of cells"
        assert 0 < float(row["operation_entropy"]) <= math.log(3) + 1e-6
        assert 0 < float(row["edge_entropy"]) <= math.log(2) + 1e-6
        assert 0 <= float(row["parameterless_share"]) <= 1
    for row in rows[3:5]:
        for kind in ("architecture", "weight"):
            assert float(row[f"{kind}_margin_min"]) <= float(row[f"{kind}_margin_mean"])


def test_a_run_says_what_it_does(whole):
    text = "\n".join(whole.lines)
    for part in (
        "building the supernet",
        "Stage 1 of 3, supernet training",
        "supernet training: the first step builds a graph",
        "batch statistics: estimated again",
        "Stage 2 of 3, mask search",
        "derivation: cell 1",
        "building the derived network",
        "Stage 3 of 3, fine-tuning",
        "s building networks and measuring them",
        "After fine-tuning",
        "model/model.onnx",
    ):
        assert part in text


def test_a_finished_run_says_so_and_changes_nothing(whole, run, patterns):
    before = hashes(whole.workdir)
    again = run(whole.config, whole.workdir)
    assert hashes(whole.workdir) == before
    assert "finished run; nothing was changed" in again.lines[0]
    assert "After fine-tuning" in "\n".join(again.lines)
    assert again.result.results == whole.result.results
    assert again.result.genotype == whole.result.genotype
    images = normalised(patterns)
    assert (np.asarray(again.result.model(images)) == np.asarray(whole.result.model(images))).all()


def test_checkpoints_of_a_finished_run_may_be_deleted(short, run, tmp_path):
    shutil.copytree(short.workdir, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    again = run(short.config, tmp_path / "run")
    assert again.result.results == short.result.results


def test_other_flags_are_refused(short, run, make_config):
    before = hashes(short.workdir)
    with pytest.raises(ValueError, match="holds a run with other flags .seed was '0', now '1'"):
        run(make_config(seed=1), short.workdir)
    assert hashes(short.workdir) == before


def test_other_images_are_refused(short, patterns, tmp_path):
    shutil.copytree(short.workdir, tmp_path / "run")
    results = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))
    del results["artifacts"]
    (tmp_path / "run" / "results.json").write_text(json.dumps(results), encoding="utf-8")
    with pytest.raises(ValueError, match="dataset"):
        hmnas_tf.search(patterns.take(150), short.config, tmp_path / "run")


def test_a_run_that_cannot_end_well_trains_nothing(patterns, make_config, tmp_path):
    with pytest.raises(ValueError, match="batch_size=200"):
        hmnas_tf.search(patterns, make_config(batch_size=200), tmp_path / "run")
    assert not (tmp_path / "run").exists()
