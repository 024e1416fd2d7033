"""Every exporter: the artifact is the model, in its own runtime, or it is not published."""

from __future__ import annotations

import ast
import dataclasses
import gzip
import os
import pathlib
import re
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest

from hmnas_tf.exporters import artifacts, clean_process, formats, parity
from hmnas_tf.exporters.formats import EXPORTERS

EXACT = sorted(name for name, exporter in EXPORTERS.items() if exporter.tolerance == parity.TOLERANCE)
PUBLISHED = {
    "keras": "model/derived.keras",
    "keras_folded": "model/derived_folded.keras",
    "saved_model": "model/saved_model/1",
    "onnx": "model/model.onnx",
    "onnx_mobile": "model/model_mobile.onnx",
    "onnx_int8": "model/model_int8.onnx",
    "litert": "model/model.tflite",
    "litert_fp16": "model/model_fp16.tflite",
    "litert_int8": "model/model_int8.tflite",
    "micro": "model/micro",
    "web": "model/web",
}


def files_of(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def unchecked(path):
    """Takes any artifact."""


@pytest.mark.parametrize("name", EXPORTERS)
def test_measures(name, exported, available, images, logits):
    run, results = exported
    assert list(results) == available
    result = dict(results[name])
    assert ("checked_with" in result) == (name == "web")
    result.pop("checked_with", None)
    assert set(result) == {
        "path",
        "bytes",
        "gzip_bytes",
        "sha256",
        "seconds",
        "max_abs_difference",
        "relative_difference",
        "test_error",
        "memory_bytes",
        *(("flash_bytes", "arena_bytes") if name == "micro" else ()),
        "scores",
    }
    support, recall = (result["scores"][name] for name in ("support", "recall"))
    wrong = sum(count * (100 - share) for count, share in zip(support, recall, strict=True) if count)
    assert wrong / len(images) == pytest.approx(result["test_error"], abs=1e-2)
    assert result["path"] == PUBLISHED[name]
    path = run / result["path"]
    content = b"".join(
        (item.read_bytes() for item in sorted(path.rglob("*")) if item.is_file())
        if path.is_dir()
        else [path.read_bytes()]
    )
    assert result["bytes"] == len(content)
    # The streams may be cut differently.
    assert abs(result["gzip_bytes"] - len(gzip.compress(content, 6))) <= 16
    assert re.fullmatch("[0-9a-f]{64}", result["sha256"])
    assert result["sha256"] == artifacts.digest(path)
    assert all(seconds > 0 for seconds in result["seconds"].values())
    tolerance = EXPORTERS[name].tolerance
    if tolerance is None:
        assert 10.0 <= result["test_error"] <= 15.0 + parity.MOST_LOST
        assert parity.TOLERANCE < result["relative_difference"] < 0.5
    else:
        assert result["test_error"] == 15.0
        assert 0 <= result["relative_difference"] <= tolerance


def test_nothing_lies_beside_the_artifacts(exported):
    run, results = exported
    names = {PUBLISHED[name].removeprefix("model/").partition("/")[0] for name in results} | {"serving"}
    assert sorted(os.listdir(run / "model")) == sorted(names)
    assert os.listdir(run / "model" / "saved_model") == ["1"]


@pytest.mark.parametrize("count", [1, 3, 8])
@pytest.mark.parametrize("name", EXACT)
def test_parity_at_every_batch_size(name, count, exported, pixels, logits):
    run, results = exported
    with artifacts.stored(pixels[:count]) as stored:
        found = clean_process.run(name, EXPORTERS[name].runtime, run / results[name]["path"], stored)
    assert found["logits"].dtype == np.float32
    assert found["logits"].shape == (count, logits.shape[-1])
    difference = np.abs(found["logits"] - logits[:count]).max()
    assert difference <= parity.TOLERANCE * np.abs(logits).max()


@pytest.mark.parametrize("name", EXPORTERS)
def test_wrong_spatial_shape_is_refused(name, exported, labelling, labels):
    run, results = exported
    wide = np.zeros((4, 16, 8, 3), np.uint8)
    # Each runtime has its own exception; all name the shape.
    with (
        artifacts.stored(wide) as stored,
        pytest.raises(parity.ArtifactError, match=r"(?i)cannot be run: .*(shape|dimension|compatible)"),
    ):
        artifacts.measure(name, run / results[name]["path"], labelling, stored, labels[:4])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(
    bad, network, other_model, pixels, labels, available, tmp_path
):
    broken = keras.models.clone_model(other_model)
    broken.set_weights(other_model.get_weights())
    broken.weights[-1].assign([bad, 0, 0, 0, 0])
    broken = dataclasses.replace(network, folded=broken, padded=broken)
    with pytest.raises(ValueError, match="expected finite weights.*logits/bias"):
        artifacts.export_all(broken, tmp_path / "model", available, pixels, labels)
    assert files_of(tmp_path) == []


@pytest.mark.parametrize("name", EXPORTERS)
def test_an_artifact_of_other_weights_is_not_published(
    name, network, other_model, pixels, labels, tmp_path, monkeypatch
):
    honest = EXPORTERS[name]
    other = dataclasses.replace(network, trainable=other_model, folded=other_model, padded=other_model).cargo(
        "folded"
    )

    def write(cargo, path, check):
        return honest.write(other, path, check)

    monkeypatch.setitem(EXPORTERS, name, dataclasses.replace(honest, write=write))
    with pytest.raises(parity.ArtifactError, match=rf"^{name}: expected .*; not published"):
        artifacts.export_all(network, tmp_path / "model", [name], pixels, labels)
    assert files_of(tmp_path) == []
    assert [path for path in tmp_path.rglob("*") if path.name.isdigit() or path.name.startswith(".")] == []


@pytest.mark.parametrize("name", EXPORTERS)
def test_an_artifact_with_swapped_labels_is_not_published(
    name, network, pixels, labels, tmp_path, monkeypatch
):
    honest = EXPORTERS[name]
    names = network.labelling.class_names
    swapped = dataclasses.replace(network.labelling, class_names=(names[1], names[0], *names[2:]))

    def write(cargo, path, check):
        return honest.write(dataclasses.replace(cargo, labelling=swapped), path, check)

    monkeypatch.setitem(EXPORTERS, name, dataclasses.replace(honest, write=write))
    with pytest.raises(parity.ArtifactError, match=rf"^{name}: expected the labelling .* class_names"):
        artifacts.export_all(network, tmp_path / "model", [name], pixels, labels)
    assert files_of(tmp_path) == []


def test_running_again_replaces_files_and_takes_the_next_version(network, pixels, labels, tmp_path):
    stale = tmp_path / "model" / ".tmp-publish-killed"
    stale.mkdir(parents=True)
    names = ["keras", "saved_model"]
    runs = [artifacts.export_all(network, tmp_path / "model", names, pixels, labels) for _ in range(2)]
    assert [run["saved_model"]["path"] for run in runs] == ["model/saved_model/1", "model/saved_model/2"]
    assert runs[0]["keras"]["path"] == runs[1]["keras"]["path"]
    assert sorted(os.listdir(tmp_path / "model")) == [stale.name, "derived.keras", "saved_model", "serving"]
    assert (tmp_path / "model" / "saved_model" / "1" / "saved_model.pb").exists()
    for name in names:
        assert runs[0][name]["relative_difference"] == runs[1][name]["relative_difference"]
        assert runs[0][name]["test_error"] == runs[1][name]["test_error"]


CLEAN_PROCESS = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "hmnas_tf":
            raise ImportError("blocked " + name)
sys.meta_path.insert(0, Block())
import numpy, onnxruntime, keras, tensorflow
from ai_edge_litert.interpreter import Interpreter
run, shown = sys.argv[1], numpy.load(sys.argv[2])
image, logits = shown["image"], shown["logits"]
session = onnxruntime.InferenceSession(run + "/model/model.onnx", providers=["CPUExecutionProvider"])
servable = tensorflow.saved_model.load(run + "/model/saved_model/1")
lite = Interpreter(run + "/model/model.tflite").get_signature_runner()
for received in (
    session.run(["logits"], {"image": image})[0],
    servable.signatures["serving_default"](image=tensorflow.constant(image))["logits"].numpy(),
    keras.models.load_model(run + "/model/derived.keras")(image, training=False).numpy(),
    numpy.concatenate([lite(image=row[None])["logits"] for row in image]),
):
    difference = abs(received - logits).max() / abs(logits).max()
    assert difference <= 1e-5, difference
assert "hmnas_tf" not in sys.modules
"""


def test_artifacts_load_where_this_project_cannot_be_imported(exported, images, logits, tmp_path):
    run, _ = exported
    np.savez(tmp_path / "shown.npz", image=images, logits=logits)
    command = [sys.executable, "-I", "-c", CLEAN_PROCESS, str(run), str(tmp_path / "shown.npz")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]


def test_wrong_arguments_are_named(network, pixels, labels, tmp_path):
    def export(pixels=pixels, labels=labels):
        artifacts.export_all(network, tmp_path / "model", ["keras"], pixels, labels)

    with pytest.raises(ValueError, match=r"^pixels: expected uint8 .*, received float32 \(40, 8, 8, 3\)"):
        export(pixels=pixels.astype(np.float32))
    with pytest.raises(ValueError, match=r"^pixels: .*received uint8 \(40, 8, 4, 3\)"):
        export(pixels=pixels[:, :, :4])
    with pytest.raises(ValueError, match=r"^pixels: .*N >= 1"):
        export(pixels=pixels[:0], labels=labels[:0])
    with pytest.raises(
        ValueError, match=r"^labels: expected integers of shape \(40,\), received int64 \(39,\)"
    ):
        export(labels=labels[1:])
    assert files_of(tmp_path) == []


def test_what_is_asked_for():
    assert formats.artifacts_of(["keras", "onnx"], ["none"]) == [
        "keras",
        "keras_folded",
        "onnx",
        "onnx_mobile",
    ]
    assert formats.artifacts_of(["onnx", "keras", "onnx"], ["none", "int8"]) == [
        "onnx",
        "onnx_mobile",
        "keras",
        "keras_folded",
        "onnx_int8",
    ]
    asked = formats.artifacts_of(formats.FORMATS, formats.QUANTIZATIONS)
    assert sorted(asked) == sorted(EXPORTERS)
    with pytest.raises(
        ValueError,
        match="^formats: expected some of keras, litert, micro, onnx, saved_model, web, received h5$",
    ):
        formats.artifacts_of(["keras", "h5"], ["none"])
    with pytest.raises(ValueError, match="^formats: .*received nothing$"):
        formats.artifacts_of([], ["none"])
    with pytest.raises(ValueError, match="^quantize: expected some of int8, none, received int4$"):
        formats.artifacts_of(["onnx"], ["int4"])
    with pytest.raises(ValueError, match="^quantize=int8: .* received keras, saved_model$"):
        formats.artifacts_of(["keras", "saved_model"], ["int8"])


def test_requirements_are_known_before_training(monkeypatch, network, pixels, labels, available, tmp_path):
    assert formats.missing_requirements(available) == []
    real = formats.onnx_model.importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "tf2onnx" else real(name))
    message = "onnx: expected tf2onnx, onnx, onnxruntime, missing tf2onnx; pip install 'hmnas_tf[onnx]'"
    assert formats.missing_requirements(available) == [message]
    assert formats.missing_requirements(["keras", "saved_model", "litert"]) == []
    with pytest.raises(ImportError) as raised:
        artifacts.export_all(network, tmp_path / "model", available, pixels, labels)
    assert str(raised.value) == message
    for write in (formats.onnx_model.export_onnx, formats.onnx_model.export_int8):
        with pytest.raises(ImportError, match="pip install"):
            write(network.cargo("padded"), tmp_path / "x.onnx", unchecked)
    assert files_of(tmp_path) == []


def test_extras_are_imported_only_when_they_are_used():
    for file in pathlib.Path(artifacts.__file__).parent.glob("*.py"):
        for node in ast.parse(file.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            extras = {
                "tf2onnx",
                "onnx",
                "onnxruntime",
                "ai_edge_litert",
                "tensorflow_serving",
                "tflite_micro",
            }
            assert not {name.split(".")[0] for name in names} & extras, file.name


def weights_of(path):
    """Returns the file of an artifact that has the weights."""
    names = ("variables.data-00000-of-00001", "model.onnx", "model_int8.tflite")
    return next(file for file in path.rglob("*") if file.name in names) if path.is_dir() else path


def truncate(path):
    target = weights_of(path)
    target.write_bytes(target.read_bytes()[: target.stat().st_size // 2])


def flip_a_bit(path):
    target = weights_of(path)
    content = bytearray(target.read_bytes())
    content[len(content) // 2] ^= 1
    target.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [truncate, flip_a_bit])
@pytest.mark.parametrize("name", EXPORTERS)
def test_damage_changes_the_digest(name, damage, exported, tmp_path):
    run, results = exported
    path = run / results[name]["path"]
    copy = tmp_path / path.name
    (shutil.copytree if path.is_dir() else shutil.copyfile)(path, copy)
    assert artifacts.digest(copy) == results[name]["sha256"]
    damage(copy)
    assert artifacts.digest(copy) != results[name]["sha256"]


@pytest.mark.parametrize("name", sorted({PUBLISHED[n]: n for n in EXPORTERS}.values()))
def test_a_truncated_artifact_does_not_run(name, exported, labelling, pixels, labels, logits, tmp_path):
    run, results = exported
    path = run / results[name]["path"]
    copy = tmp_path / path.name
    (shutil.copytree if path.is_dir() else shutil.copyfile)(path, copy)
    truncate(copy)
    with artifacts.stored(pixels) as stored, pytest.raises(parity.ArtifactError, match="cannot be run"):
        artifacts.measure(name, copy, labelling, stored, labels, logits)


def test_a_savedmodel_without_variables_loads_but_does_not_run(exported, labelling, pixels, labels, tmp_path):
    copy = shutil.copytree(exported[0] / "model/saved_model/1", tmp_path / "1")
    shutil.rmtree(copy / "variables")
    with (
        artifacts.stored(pixels) as stored,
        pytest.raises(parity.ArtifactError, match="cannot be run: .*variable"),
    ):
        artifacts.measure("saved_model", copy, labelling, stored, labels)


def test_a_digest_knows_names_and_borders_of_files(tmp_path):
    def folder(name, **files):
        (tmp_path / name).mkdir()
        for file, text in files.items():
            (tmp_path / name / file).write_text(text)
        return artifacts.digest(tmp_path / name)

    assert folder("one", a="xy", b="z") == folder("two", b="z", a="xy")
    assert len({folder("three", a="x", b="yz"), folder("four", a="xy", c="z"), folder("five", a="xyz")}) == 3
