"""Every exporter: the artifact is the model, in its own runtime, or it is not published."""

from __future__ import annotations

import ast
import dataclasses
import gzip
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

from hmnas_tf.exporters import artifacts, parity

FORMATS = sorted(artifacts.EXPORTERS)
PUBLISHED = {"keras": "model/derived.keras", "onnx": "model/model.onnx", "saved_model": "model/saved_model/1"}


def files_of(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", FORMATS)
def test_measures(name, exported):
    run, results = exported
    assert list(results) == FORMATS
    result = results[name]
    assert list(result) == [
        "path",
        "bytes",
        "gzip_bytes",
        "max_abs_difference",
        "relative_difference",
        "test_error",
    ]
    assert result["path"] == PUBLISHED[name]
    path = run / result["path"]
    content = b"".join(
        (item.read_bytes() for item in sorted(path.rglob("*")) if item.is_file())
        if path.is_dir()
        else [path.read_bytes()]
    )
    assert result["bytes"] == len(content)
    assert (
        abs(result["gzip_bytes"] - len(gzip.compress(content, 6))) <= 16
    )  # the streams may be cut differently
    assert result["test_error"] == 15.0
    assert result["max_abs_difference"] >= 0
    assert 0 <= result["relative_difference"] <= parity.TOLERANCE


def test_nothing_lies_beside_the_artifacts(exported):
    run, _ = exported
    assert sorted(os.listdir(run / "model")) == ["derived.keras", "model.onnx", "saved_model"]
    assert os.listdir(run / "model" / "saved_model") == ["1"]


@pytest.mark.parametrize("batch", [1, 3, 8])
@pytest.mark.parametrize("name", FORMATS)
def test_parity_at_every_batch_size(name, batch, exported, images, logits):
    run, results = exported
    predicted = artifacts.EXPORTERS[name].load(run / results[name]["path"])(images[:batch])
    assert predicted.dtype == np.float32
    assert predicted.shape == (batch, logits.shape[-1])
    assert np.abs(predicted - logits[:batch]).max() <= parity.TOLERANCE * np.abs(logits).max()


@pytest.mark.parametrize("name", FORMATS)
def test_wrong_spatial_shape_is_refused(name, exported):
    run, results = exported
    predict = artifacts.EXPORTERS[name].load(run / results[name]["path"])
    # Each runtime has its own exception; all name the shape.
    with pytest.raises(Exception, match=r"(?i)shape|dimension|compatible"):
        predict(np.zeros((4, 16, 8, 3), np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", FORMATS)
def test_weights_that_are_not_finite_are_refused(name, bad, other_model, labelling, tmp_path):
    broken = keras.models.clone_model(other_model)
    broken.set_weights(other_model.get_weights())
    broken.weights[-1].assign([bad, 0, 0, 0, 0])
    exporter = artifacts.EXPORTERS[name]
    with pytest.raises(ValueError, match="expected finite weights.*logits/bias"):
        exporter.write(broken, tmp_path / exporter.file_name, labelling, lambda path: None)
    assert files_of(tmp_path) == []


@pytest.mark.parametrize("name", FORMATS)
def test_an_artifact_of_other_weights_is_not_published(
    name, model, other_model, labelling, images, labels, tmp_path, monkeypatch
):
    honest = artifacts.EXPORTERS[name]

    def write(model, path, labelling, check):
        return honest.write(other_model, path, labelling, check)

    monkeypatch.setitem(artifacts.EXPORTERS, name, dataclasses.replace(honest, write=write))
    with pytest.raises(
        parity.ParityError, match=rf"^{name}: expected .* relative difference of \S+ \(absolute \S+\)"
    ):
        artifacts.export_all(model, tmp_path / "model", [name], labelling, images, labels)
    assert files_of(tmp_path) == []
    assert [path for path in tmp_path.rglob("*") if path.name.isdigit() or path.name.startswith(".")] == []


@pytest.mark.parametrize("name", FORMATS)
def test_an_exporter_checks_by_itself_when_used_alone(name, model, labelling, tmp_path, monkeypatch):
    exporter, asked = artifacts.EXPORTERS[name], []

    def compare(artifact, expected, received):
        asked.append((artifact, expected.shape, received.shape))
        raise parity.ParityError("different")

    monkeypatch.setattr(parity, "require_equal_logits", compare)
    with pytest.raises(parity.ParityError):
        exporter.write(model, tmp_path / exporter.file_name, labelling)
    assert asked == [(name, (4, 5), (4, 5))]
    assert files_of(tmp_path) == []


def test_running_again_replaces_files_and_takes_the_next_version(model, labelling, images, labels, tmp_path):
    stale = tmp_path / "model" / ".tmp-publish-killed"
    stale.mkdir(parents=True)
    runs = [
        artifacts.export_all(model, tmp_path / "model", FORMATS, labelling, images, labels) for _ in range(2)
    ]
    assert [run["saved_model"]["path"] for run in runs] == ["model/saved_model/1", "model/saved_model/2"]
    assert runs[0]["keras"]["path"] == runs[1]["keras"]["path"]
    assert sorted(os.listdir(tmp_path / "model")) == [
        stale.name,
        "derived.keras",
        "model.onnx",
        "saved_model",
    ]
    assert (tmp_path / "model" / "saved_model" / "1" / "saved_model.pb").exists()
    for name in FORMATS:
        assert runs[0][name]["relative_difference"] == runs[1][name]["relative_difference"]
        assert runs[0][name]["test_error"] == runs[1][name]["test_error"]


@pytest.mark.parametrize("name", FORMATS)
def test_sizes_of_one_artifact_do_not_depend_on_when_they_are_taken(name, exported):
    run, results = exported
    sizes = {key: results[name][key] for key in ("bytes", "gzip_bytes")}
    assert artifacts._sizes(run / results[name]["path"]) == sizes


CLEAN_PROCESS = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "hmnas_tf":
            raise ImportError("blocked " + name)
sys.meta_path.insert(0, Block())
import numpy, onnxruntime, keras, tensorflow
run, shown = sys.argv[1], numpy.load(sys.argv[2])
image, logits = shown["image"], shown["logits"]
session = onnxruntime.InferenceSession(run + "/model/model.onnx", providers=["CPUExecutionProvider"])
servable = tensorflow.saved_model.load(run + "/model/saved_model/1")
for received in (
    session.run(["logits"], {"image": image})[0],
    servable.signatures["serving_default"](image=tensorflow.constant(image))["logits"].numpy(),
    keras.models.load_model(run + "/model/derived.keras")(image, training=False).numpy(),
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


def test_wrong_arguments_are_named(model, labelling, images, labels, tmp_path):
    def export(formats=("keras",), images=images, labels=labels, batch_size=8):
        artifacts.export_all(model, tmp_path / "model", formats, labelling, images, labels, batch_size)

    with pytest.raises(ValueError, match="^formats: expected some of keras, onnx, saved_model, received h5$"):
        export(formats=("keras", "h5"))
    with pytest.raises(
        ValueError, match=r"^images: expected normalised float32 .*, received uint8 \(20, 8, 8, 3\)"
    ):
        export(images=images.astype(np.uint8))
    with pytest.raises(ValueError, match=r"^images: .*received float32 \(20, 8, 4, 3\)"):
        export(images=images[:, :, :4])
    with pytest.raises(ValueError, match=r"^images: .*N >= 1"):
        export(images=images[:0], labels=labels[:0])
    with pytest.raises(
        ValueError, match=r"^labels: expected integers of shape \(20,\), received int64 \(19,\)"
    ):
        export(labels=labels[1:])
    with pytest.raises(ValueError, match="^batch_size: expected at least 1, received 0"):
        export(batch_size=0)
    assert files_of(tmp_path) == []


def test_requirements_are_known_before_training(monkeypatch, model, labelling, images, labels, tmp_path):
    assert artifacts.missing_requirements(FORMATS) == []
    real = artifacts.onnx_model.importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "tf2onnx" else real(name))
    message = "onnx: expected tf2onnx, onnx, onnxruntime, missing tf2onnx; pip install 'hmnas_tf[onnx]'"
    assert artifacts.missing_requirements(FORMATS) == [message]
    assert artifacts.missing_requirements(["keras", "saved_model"]) == []
    with pytest.raises(ValueError, match="received tflight"):
        artifacts.missing_requirements(["tflight"])
    with pytest.raises(ImportError) as raised:
        artifacts.export_all(model, tmp_path / "model", FORMATS, labelling, images, labels)
    assert str(raised.value) == message
    for use in (
        lambda: artifacts.onnx_model.export_onnx(model, tmp_path / "x.onnx", labelling),
        lambda: artifacts.onnx_model.load_onnx(tmp_path / "x.onnx"),
    ):
        with pytest.raises(ImportError, match="pip install"):
            use()
    assert files_of(tmp_path) == []


def test_onnx_is_imported_only_when_it_is_used():
    for file in pathlib.Path(artifacts.__file__).parent.glob("*.py"):
        for node in ast.parse(file.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & {"tf2onnx", "onnx", "onnxruntime"}, file.name
