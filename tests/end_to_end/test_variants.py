"""Whole runs with other rules, other precision, and from the command line."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import hmnas_tf
from hmnas_tf.space.darts_form import to_darts
from hmnas_tf.stages.fit import fit
from hmnas_tf.storage.run_folder import flag_lines

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("rule", ["top2", "random"])
def test_rules_without_masks_skip_mask_search(rule, run, make_config, tmp_path):
    finished = run(make_config(derivation=rule), tmp_path / "run")
    stages = finished.result.results["stages"]
    assert stages["searched"]["epochs"] == 0
    assert stages["searched"]["params"] == stages["searched"]["params_nonzero"]
    assert stages["finetuned"]["test_error"] < 40.0
    assert not any("Stage 2 of 3" in line for line in finished.lines)
    assert "mask search" not in (tmp_path / "run" / "metrics.csv").read_text(encoding="utf-8")
    assert finished.result.genotype.count() == {"edges": 2, "operations": 2}


def test_mixed_precision_trains_and_exports_float32(run, make_config, patterns, tmp_path):
    before = keras.config.dtype_policy().name
    finished = run(make_config(mixed_precision=True), tmp_path / "run")
    assert keras.config.dtype_policy().name == before
    network = keras.saving.load_model(tmp_path / "run" / "model" / "derived.keras", compile=False)
    for model in (network, finished.result.model):
        assert {layer.compute_dtype for layer in model.layers} == {"float32"}
        assert {variable.dtype for variable in model.variables} == {"float32"}
    stages = finished.result.results["stages"]
    assert stages["finetuned"]["test_error"] < 40.0
    exported = finished.result.results["artifacts"]["keras"]
    assert exported["test_error"] == pytest.approx(stages["finetuned"]["test_error"], abs=5.0)


def test_smoothed_labels_and_weights_of_classes_are_trained_in_every_stage(
    run, make_config, monkeypatch, tmp_path
):
    seen = {}

    def spied(stage, *arguments, **keywords):
        seen[stage.name] = (stage.label_smoothing, stage.class_weights.tolist())
        return fit(stage, *arguments, **keywords)

    monkeypatch.setattr("hmnas_tf.runs.run.fit", spied)
    run(make_config(label_smoothing=0.5, class_weights="balanced"), tmp_path / "run")
    expected = (0.5, [1.0, 1.0, 1.0, 1.0])  # the patterns are balanced
    assert seen == dict.fromkeys(("supernet_training", "mask_search", "fine_tuning"), expected)


def test_a_published_architecture_is_trained_without_a_search(run, make_config, tmp_path):
    settings = dict(genotype="DARTS_V2", initial_weights="random", cells=3, nodes=4, finetune_epochs=4)
    finished = run(make_config(**settings), tmp_path / "run")
    stages = finished.result.results["stages"]
    assert set(stages) == {"finetuned"}
    assert stages["finetuned"]["test_error"] < 50.0
    assert to_darts(finished.result.genotype).normal[:2] == (("sep_conv_3x3", 0), ("sep_conv_3x3", 1))
    assert finished.result.model.get_layer("cell0_edge0_2_sep_conv_3x3_1_bn") is not None
    table = "\n".join(finished.lines)
    assert "After fine-tuning" in table
    assert "Supernet" not in table
    again = run(make_config(**settings), tmp_path / "run")
    assert any("nothing was changed" in line for line in again.lines)


def test_a_searched_architecture_is_trained_from_its_file(short, run, make_config, tmp_path):
    path = short.workdir / "genotype.json"
    finished = run(make_config(genotype=str(path), initial_weights="random"), tmp_path / "run")
    assert finished.result.genotype.cells == short.result.genotype.cells
    sizes = [result.results["derived"]["params_dense"] for result in (finished.result, short.result)]
    assert sizes[0] == sizes[1]


def test_partial_channels_halved_in_preprocessing_go_through_all_stages_into_every_format(
    run, make_config, tmp_path
):
    operations, space = ("sep_conv_3x3", "max_pool_3x3", "identity"), {"reduce_in": "preprocessing"}
    config = make_config(cells=2, nodes=2, operations=operations, partial_channels=2, drop_path=0.3, **space)
    formats = dict(formats=("keras", "saved_model", "onnx", "litert"), quantize=("none", "int8"))
    finished = run(dataclasses.replace(config, **formats), tmp_path / "run")
    path = tmp_path / "run" / "genotype.json"
    topology = json.loads(path.read_text(encoding="utf-8"))["topology"]
    assert (topology["partial_channels"], topology["reduce_in"]) == (2, "preprocessing")
    results = finished.result.results
    assert results["stages"]["finetuned"]["test_error"] < 40.0
    for name in ("keras", "keras_folded", "saved_model", "onnx", "litert"):
        artifact = results["artifacts"].pop(name)
        assert artifact["max_abs_difference"] < 1e-4, name
        assert artifact["test_error"] == results["stages"]["finetuned"]["test_error"], name
    assert {"litert_int8", "onnx_int8"} <= set(results["artifacts"])
    assert max(artifact["test_error"] for artifact in results["artifacts"].values()) < 50.0
    layers = [type(layer).__name__ for layer in finished.result.model.layers]
    assert "Cropping2D" in layers
    again = run(
        dataclasses.replace(config, partial_channels=1, genotype=str(path), initial_weights="random"),
        tmp_path / "again",
    )
    assert [type(layer).__name__ for layer in again.result.model.layers] == layers


def test_a_given_file_must_not_change_during_a_run(short, make_config, patterns, tmp_path, monkeypatch):
    path = tmp_path / "genotype.json"
    genotype = json.loads((short.workdir / "genotype.json").read_text(encoding="utf-8"))
    path.write_text(json.dumps(genotype), encoding="utf-8")
    config = make_config(genotype=str(path), initial_weights="random")

    def stop(*arguments):
        raise NotImplementedError

    monkeypatch.setattr("hmnas_tf.algorithm.fine_tune", stop)
    with pytest.raises(NotImplementedError):
        hmnas_tf.search(patterns, config, tmp_path / "run")
    with pytest.raises(NotImplementedError):
        hmnas_tf.search(patterns, config, tmp_path / "run")
    genotype["cells"][0]["nodes"][0]["edges"][0]["beta"] += 0.25
    path.write_text(json.dumps(genotype), encoding="utf-8")
    with pytest.raises(ValueError, match="is not what it was when this run began"):
        hmnas_tf.search(patterns, config, tmp_path / "run")


def test_a_search_on_some_classes_is_fine_tuned_on_all(run, make_config, patterns, tmp_path):
    finished = run(make_config(search_classes=2, seed=1, finetune_epochs=4), tmp_path / "run")
    results = finished.result.results
    assert len(results["search_classes"]) == 2
    assert set(results["search_classes"]) < set(patterns.class_names)
    assert finished.result.model.output_shape == (None, 4)
    assert results["stages"]["finetuned"]["test_error"] < 50.0
    more = results["stages"]["finetuned"]["params"] - results["stages"]["searched"]["params"]
    features = finished.result.model.get_layer("logits").kernel.shape[0]
    assert more == 2 * (features + 1)  # two more classes


def test_single_level_encoding_searches(run, make_config, tmp_path):
    finished = run(make_config(edge_softmax="none"), tmp_path / "run")
    betas = [edge.beta for cell in finished.result.genotype.cells for _, edge in cell.edges()]
    assert set(betas) == {1.0}
    assert finished.result.results["stages"]["finetuned"]["test_error"] < 40.0


def command(*arguments: str, where: Path) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "-1"}
    return subprocess.run(
        [sys.executable, "-m", "hmnas_tf.search", *arguments],
        cwd=where,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )


def without_seconds(path: Path) -> dict:
    results = json.loads(path.read_text(encoding="utf-8"))
    for stage in results["stages"].values():
        del stage["seconds"]
    for artifact in results["artifacts"].values():
        for name in ("bytes", "gzip_bytes", "sha256", "seconds"):  # an archive holds the time it was written
            del artifact[name]
    return results


def test_the_command_runs_and_its_flag_file_repeats_the_run(patterns, make_config, tmp_path):
    arrays = {name: getattr(patterns, name) for name in ("x_train", "y_train", "x_test", "y_test")}
    np.savez(tmp_path / "patterns.npz", class_names=np.array(patterns.class_names), **arrays)
    flags = flag_lines(make_config(), tmp_path / "first")
    done = command(*flags, where=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    lines = done.stdout.splitlines()
    (header,) = (number for number, line in enumerate(lines) if line.startswith("stage "))
    titles = ("Supernet", "Searched network", "After fine-tuning")
    for line, title in zip(lines[header + 1 :], titles, strict=False):
        assert line.startswith(title)
        assert " %" in line
    repeated = command(f"--flagfile={tmp_path / 'first' / 'run.flags'}", "--workdir=second", where=tmp_path)
    assert repeated.returncode == 0, repeated.stderr[-3000:]
    first, second = (without_seconds(tmp_path / name / "results.json") for name in ("first", "second"))
    assert first == second
    images = np.random.default_rng(0).standard_normal((8, 8, 8, 1), np.float32)
    networks = [
        keras.saving.load_model(tmp_path / name / "model" / "derived.keras", compile=False)
        for name in ("first", "second")
    ]
    assert (np.asarray(networks[0](images)) == np.asarray(networks[1](images))).all()
