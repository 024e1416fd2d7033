"""What is done with a finished run: exported again, evaluated, used; and what happens when its files are damaged."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import deployment_table
import numpy as np
import pytest
from forked import Command, refused
from PIL import Image

import hmnas_tf
from hmnas_tf.exporters import web
from hmnas_tf.networks.handmade import HAND_MADE
from hmnas_tf.storage.run_folder import RunFolder

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def command(name: str, *arguments: str) -> subprocess.CompletedProcess:
    with tempfile.TemporaryDirectory() as printed:
        process = Command(name, arguments, Path(printed), directory=ROOT)
        code = process.wait(600)
        return subprocess.CompletedProcess(arguments, code, process.shown, process.complained)


def complaints(process: subprocess.CompletedProcess, name: str) -> list[str]:
    assert "Traceback" not in process.stderr, process.stderr
    return [line for line in process.stderr.splitlines() if line.startswith(f"hmnas_tf.{name}: ")]


def results_of(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def exported(patterns, make_config, in_own_processes, tmp_path_factory) -> Path:
    """A finished run on images in a file; tests change copies of it."""
    folder = tmp_path_factory.mktemp("exported")
    file = folder / "patterns.npz"
    np.savez(file, **{name: getattr(patterns, name) for name in ("x_train", "y_train", "x_test", "y_test")})
    config = make_config(dataset=f"npz:{file}", formats=("saved_model", "onnx", "litert"))
    with in_own_processes():
        hmnas_tf.search(hmnas_tf.load_dataset(config.dataset), config, folder / "run")
    return folder / "run"


@pytest.fixture
def copied(exported, tmp_path) -> Path:
    return shutil.copytree(exported, tmp_path / "run")


def test_every_artifact_is_evaluated_in_its_own_runtime(exported):
    process = command("evaluate", f"--workdir={exported}")
    assert process.returncode == 0, process.stderr
    rows = re.findall(r"^(\w+) +test error +([\d.]+) %", process.stdout, re.MULTILINE)
    recorded = results_of(exported)["artifacts"]
    assert rows == [(name, f"{artifact['test_error']:.2f}") for name, artifact in recorded.items()]


def test_one_format_is_evaluated(exported):
    process = command("evaluate", f"--workdir={exported}", "--artifact=onnx")
    assert process.returncode == 0, process.stderr
    assert re.findall(r"^(\w+) +test error", process.stdout, re.MULTILINE) == ["onnx", "onnx_mobile"]


def test_damaged_artifacts_are_named_and_the_others_evaluated(copied):
    model = copied / "model"
    onnx = bytearray((model / "model.onnx").read_bytes())
    onnx[len(onnx) // 2] ^= 1
    (model / "model.onnx").write_bytes(bytes(onnx))
    (model / "model.tflite").write_bytes((model / "model.tflite").read_bytes()[:-100])
    shutil.rmtree(model / "saved_model/1/variables")
    (model / "model_fp16.tflite").unlink()
    process = command("evaluate", f"--workdir={copied}")
    assert process.returncode == 2
    said = "\n".join(complaints(process, "evaluate"))
    assert re.findall(r"evaluate: (\w+): .* (is not what was exported|is missing)", said) == [
        ("saved_model", "is not what was exported"),
        ("onnx", "is not what was exported"),
        ("litert", "is not what was exported"),
        ("litert_fp16", "is missing"),
    ]
    assert re.findall(r"^(\w+) +test error", process.stdout, re.MULTILINE) == [
        "keras",
        "keras_folded",
        "onnx_mobile",
    ]


def test_a_run_is_exported_again_in_other_formats(copied):
    before = results_of(copied)["artifacts"]
    page = [] if web.missing() else ["web"]  # where its package can be had
    formats = ",".join(["saved_model", "litert", "micro", *page])
    process = command("export", f"--workdir={copied}", f"--formats={formats}", "--quantize=none,int8")
    assert process.returncode == 0, process.stderr
    after = results_of(copied)["artifacts"]
    assert list(after) == [*before, "micro", *page, "litert_int8"]
    assert ("look at it with python -m http.server --directory" in process.stdout) == bool(page)
    for name in ("model/README.md", "report.html"):
        assert "model_int8.tflite" in (copied / name).read_text(encoding="utf-8"), "it is written again"
    assert after["saved_model"]["path"] == "model/saved_model/2"
    assert (copied / "model/saved_model/1/saved_model.pb").exists()
    assert (copied / "model/model_int8.tflite").exists()
    assert {name: after[name] for name in ("keras", "keras_folded", "onnx", "onnx_mobile")} == {
        name: before[name] for name in ("keras", "keras_folded", "onnx", "onnx_mobile")
    }
    assert results_of(copied)["stages"] == results_of(copied)["stages"]
    shown = re.findall(r"^micro +model/micro .* test error ([\d.]+) %", process.stdout, re.MULTILINE)
    process = command("evaluate", f"--workdir={copied}", "--artifact=saved_model,litert,micro")
    assert process.returncode == 0, process.stderr
    assert process.stdout.count("test error") == 5
    assert shown == re.findall(r"^micro +test error +([\d.]+) %", process.stdout, re.MULTILINE)


def test_files_are_predicted_and_bad_ones_named(exported, patterns, tmp_path):
    for index in range(3):
        image = Image.fromarray(patterns.x_test[index, ..., 0])
        image.save(tmp_path / f"{index} é.png")
    (tmp_path / "9.png").write_bytes(b"no image")
    process = command("predict", f"--workdir={exported}", f"--images={tmp_path}/*.png", "--top=4")
    assert process.returncode == 2
    (complaint,) = complaints(process, "predict")
    assert "9.png as an image" in complaint
    rows = [line.split("\t") for line in process.stdout.splitlines() if "\t" in line]
    assert [Path(row[0]).name for row in rows] == [f"{index} é.png" for index in range(3)]
    names = results_of(exported)["dataset"]["class_names"]
    for row, label in zip(rows, patterns.y_test[:3], strict=True):
        assert row[1] == names[label]
        assert sorted(row[1::2]) == sorted(names)
        probabilities = [float(text) for text in row[2::2]]
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) == pytest.approx(1.0, abs=1e-3)


MISTAKES = {
    "evaluate nothing": ("evaluate", ["--workdir={empty}"], ["{empty}", "holds no run", "--workdir"]),
    "evaluate an unknown artifact": (
        "evaluate",
        ["--workdir={run}", "--artifact=h5"],
        ["artifact='h5'", "onnx_mobile"],
    ),
    "evaluate what was not exported": (
        "evaluate",
        ["--workdir={run}", "--artifact=onnx_int8"],
        ["onnx_int8 was not exported", "hmnas_tf.export"],
    ),
    "evaluate an unfinished run": (
        "evaluate",
        ["--workdir={unfinished}"],
        ["holds no finished run", "hmnas_tf.search"],
    ),
    "export an unknown format": (
        "export",
        ["--workdir={run}", "--formats=onnx,h5"],
        ["formats", "h5", "litert"],
    ),
    "export 8 bits of what has none": (
        "export",
        ["--workdir={run}", "--formats=saved_model", "--quantize=int8"],
        ["quantize=int8", "saved_model", "onnx"],
    ),
    "export a changed network": (
        "export",
        ["--workdir={tampered}", "--formats=onnx"],
        ["derived.keras is not what was exported", "restore"],
    ),
    "predict nothing": ("predict", ["--workdir={run}", "--images={empty}/*.png"], ["matches no file"]),
    "predict without images": ("predict", ["--workdir={run}"], ["--images is missing"]),
    "predict in an empty folder": (
        "predict",
        ["--workdir={empty}", "--images={run}/results.json"],
        ["holds no finished run"],
    ),
    "a stray word": ("predict", ["--workdir={run}", "photo.png"], ["'photo.png' is no flag"]),
}


@pytest.fixture(scope="module")
def places(exported, tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "empty").mkdir()
    unfinished = shutil.copytree(exported, folder / "unfinished")
    results = results_of(unfinished)
    del results["artifacts"]
    (unfinished / "results.json").write_text(json.dumps(results), encoding="utf-8")
    tampered = shutil.copytree(exported, folder / "tampered")
    shutil.copyfile(tampered / "model/derived_folded.keras", tampered / "model/derived.keras")
    return {"run": str(exported), **{path.name: str(path) for path in folder.iterdir()}}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_and_an_exit_code(case, places, tmp_path):
    name, arguments, words = MISTAKES[case]
    arguments, words = ([text.format(**places) for text in texts] for texts in (arguments, words))
    refused(Command(name, arguments, tmp_path / "printed"), words)


def test_the_network_is_timed_beside_those_made_by_hand(whole):
    searched, *by_hand = deployment_table.rivals(RunFolder(whole.workdir))
    assert searched["network"] == "searched"
    assert searched["onnx, ratio"] == searched["litert, ratio"] == "1.00"
    assert [row["network"] for row in by_hand] == list(HAND_MADE)
    for row in by_hand:
        assert row["multiply-adds"] <= searched["multiply-adds"]
        assert float(row["onnx, ms"]) > 0
    with (ROOT / "docs" / "deployment_rivals.csv").open(encoding="utf-8", newline="") as file:
        assert next(csv.reader(file)) == list(searched), "the columns of the file in docs/"
