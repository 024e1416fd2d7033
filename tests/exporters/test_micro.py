"""The folder for microcontrollers: what it says, in C too, and that a lie in any of its files is not published."""

from __future__ import annotations

import csv
import dataclasses
import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from tensorflow.lite.tools import flatbuffer_utils

from hmnas_tf.exporters import artifacts, c_source, contract, litert, micro, micro_graph, parity
from hmnas_tf.exporters.formats import EXPORTERS
from hmnas_tf.runtimes import micro_files
from hmnas_tf.storage import atomic

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tflite_micro") is None, reason="tflite_micro has no wheel for this Python"
)
DOCS = Path(__file__).parents[2] / "docs"
WARNINGS = ("-Wall", "-Wextra", "-Werror", "-pedantic")
DIALECTS = (("cc", "c99"), ("cc", "c17"), ("c++", "c++11"), ("c++", "c++20"))
PROGRAM = """\
#include <stdio.h>
#include "model.h"
int main(void) {
    unsigned int i, sum = 0;
    for (i = 0; i < hmnas_model_bytes; i++) sum = sum * 31u + hmnas_model[i];
    printf("%u %u %u %d %d\\n", sum, hmnas_model_bytes, HMNAS_ARENA_BYTES, HMNAS_OPERATORS,
           (int)((uintptr_t)hmnas_model % 16));
    printf("%d %d %d\\n", HMNAS_HEIGHT, HMNAS_WIDTH, HMNAS_CHANNELS);
    printf("%.9g %d %.9g %d\\n", HMNAS_INPUT_SCALE, HMNAS_INPUT_ZERO_POINT, HMNAS_OUTPUT_SCALE,
           HMNAS_OUTPUT_ZERO_POINT);
    for (i = 0; i < HMNAS_CLASSES; i++) printf("%s\\n", hmnas_class_names[i]);
    for (i = 0; i < HMNAS_CHANNELS * 256; i++) printf("%d ", hmnas_input_of_pixel[i / 256][i % 256]);
    return 0;
}
"""


@pytest.fixture(scope="module")
def folder(exported):
    return exported[0] / "model/micro"


@pytest.fixture(scope="module")
def facts(folder):
    return json.loads((folder / "micro.json").read_text(encoding="utf-8"))


def test_the_folder_holds_what_it_says(folder, facts, exported, labelling):
    assert sorted(path.name for path in folder.iterdir()) == [
        "micro.json",
        "model.c",
        "model.h",
        "model_int8.tflite",
    ]
    recorded = exported[1]["micro"]
    assert facts["labelling"] == json.loads(labelling.to_json())
    assert facts["flash_bytes"] == recorded["flash_bytes"] == (folder / "model_int8.tflite").stat().st_size
    assert facts["arena_bytes"] == recorded["arena_bytes"]
    assert facts["input"]["shape"] == [1, 8, 8, 3]
    assert facts["output"]["shape"] == [1, 5]
    assert facts["input"]["type"] == facts["output"]["type"] == "int8"


def test_the_arena_holds_the_activations(facts, exported):
    """The planner may leave gaps; it needs no less than the tensors that are there at once."""
    assert facts["arena_bytes"] % 16 == 0
    assert facts["activations"] + facts["persistent"] <= facts["arena_bytes"]
    assert exported[1]["micro"]["memory_bytes"] <= facts["activations"] <= facts["arena_bytes"]


def test_names_are_not_in_the_flash(folder, exported):
    content = (folder / "model_int8.tflite").read_bytes()
    assert b"image" not in content
    assert len(content) < 0.8 * exported[1]["litert_int8"]["bytes"]


@pytest.mark.parametrize(("compiler", "standard"), DIALECTS)
def test_c_compiles_without_a_warning(compiler, standard, folder, tmp_path):
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} here")
    language = "c++" if compiler == "c++" else "c"
    command = [compiler, "-x", language, f"-std={standard}", *WARNINGS, "-c", folder / "model.c"]
    subprocess.run([*command, "-o", tmp_path / "model.o"], check=True)


def test_c_says_what_the_model_says(folder, facts, labelling, tmp_path):
    if shutil.which("cc") is None:
        pytest.skip("no cc here")
    (tmp_path / "main.c").write_text(PROGRAM, encoding="utf-8")
    command = [
        "cc",
        *WARNINGS,
        "-I",
        folder,
        tmp_path / "main.c",
        folder / "model.c",
        "-o",
        tmp_path / "main",
    ]
    subprocess.run(command, check=True)
    done = subprocess.run([tmp_path / "main"], check=True, capture_output=True)
    sizes, shape, scales, *names, table = done.stdout.decode("utf-8").split("\n")
    content = (folder / "model_int8.tflite").read_bytes()
    checksum = 0
    for byte in content:
        checksum = (checksum * 31 + byte) % 2**32
    expected = [checksum, len(content), facts["arena_bytes"], len(facts["operators"]), 0]
    assert list(map(int, sizes.split())) == expected
    assert list(map(int, shape.split())) == list(labelling.image_shape)
    ends = [facts[end][of] for end in ("input", "output") for of in ("scale", "zero_point")]
    assert list(map(float, scales.split())) == pytest.approx(ends, rel=1e-7)
    assert tuple(names) == labelling.class_names
    received = np.array(table.split(), int).reshape(3, 256)
    mean, std = (np.array(values)[:, None] for values in (labelling.mean, labelling.std))
    exact = (np.arange(256) / 255 - mean) / std / facts["input"]["scale"] + facts["input"]["zero_point"]
    assert np.abs(received - np.clip(exact, -128, 127)).max() <= 0.51


@pytest.mark.parametrize("name", ['"\\', "??/ ??=", "*/ // %s {0}", "zwölf 猫", "a\\n", "\\101"])
def test_any_name_can_stand_in_c(name):
    assert micro_files._unescaped(c_source._escaped(name)) == name
    assert set(c_source._escaped(name)) <= {chr(byte) for byte in c_source.PLAIN} | set("\\01234567")
    assert "??" not in c_source._escaped(name)


def changed(file, old, new):
    """Returns what replaces a text in a file of a folder, once."""

    def damage(folder):
        text = (folder / file).read_text(encoding="utf-8")
        assert text.count(old) >= 1
        (folder / file).write_text(text.replace(old, new, 1), encoding="utf-8")

    return damage


def flip_a_bit(folder):
    content = bytearray((folder / "model_int8.tflite").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model_int8.tflite").write_bytes(bytes(content))


def flip_a_bit_of_c(folder):
    head, _, numbers = (folder / "model.c").read_text(encoding="utf-8").rpartition("= {\n")
    first, rest = numbers.split(",", 1)
    (folder / "model.c").write_text(f"{head}= {{\n{int(first) ^ 1},{rest}", encoding="utf-8")


def leave_an_operator_out(folder):
    facts = json.loads((folder / "micro.json").read_text(encoding="utf-8"))
    del facts["operators"][0]
    (folder / "micro.json").write_text(json.dumps(facts), encoding="utf-8")


def starve(folder):
    facts = json.loads((folder / "micro.json").read_text(encoding="utf-8"))
    facts["arena_bytes"] -= 16
    (folder / "micro.json").write_text(json.dumps(facts), encoding="utf-8")


DAMAGES = {
    "a bit of the model": (flip_a_bit, "cannot be run: "),
    "a bit of its copy in C": (flip_a_bit_of_c, "bytes in model.c: .* which differ"),
    "a name in C": (changed("model.c", '"one"', '"won"'), "class names in model.c: "),
    "a name in the facts": (changed("micro.json", '"one"', '"won"'), "class names in model.c: "),
    "an operator left out": (leave_an_operator_out, "operators in micro.json: "),
    "an older operator": (changed("micro.json", '"version": ', '"version": 1'), "operators in micro.json: "),
    "another scale": (changed("micro.json", '"scale": 0', '"scale": 1'), "scale of the input: "),
    "too small an arena": (starve, "an arena of .* bytes is not enough"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_folder_that_lies_is_not_published(name, folder, network, pixels, labels, tmp_path, monkeypatch):
    damage, message = DAMAGES[name]

    def write(cargo, path, check):
        with atomic.replacing_folder(path) as temporary:
            shutil.copytree(folder, temporary, dirs_exist_ok=True)
            damage(temporary)
            check(temporary)
        return path

    monkeypatch.setitem(EXPORTERS, "micro", dataclasses.replace(EXPORTERS["micro"], write=write))
    with pytest.raises(parity.ArtifactError, match=message) as raised:
        artifacts.export_all(network, tmp_path / "model", ["micro"], pixels, labels)
    assert "\n" not in str(raised.value)
    assert list((tmp_path / "model").iterdir()) == []


def test_an_operator_that_microcontrollers_lack_is_named(labelling, pixels, tmp_path):
    image = keras.Input(labelling.image_shape, name="image")
    x = keras.layers.Conv2D(2, 3, activation="gelu")(image)
    model = keras.Model(image, keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(x)))
    cargo = contract.Cargo(model, labelling, "{}", pixels)
    with pytest.raises(parity.ArtifactError, match="has no operator GELU: leave the layer"):
        micro.export_micro(cargo, tmp_path / "micro", lambda folder: None)
    assert list(tmp_path.iterdir()) == []


def test_dilated_convolutions_of_one_tensor_are_whole(labelling, pixels):
    """The converter re-arranges their tensor once, for both; SPACE_TO_BATCH_ND is wrong on microcontrollers."""
    image = keras.Input(labelling.image_shape, name="image")
    settings = {"dilation_rate": 2, "padding": "same"}
    x = keras.layers.Conv2D(4, 3, padding="same")(image)
    both = [keras.layers.DepthwiseConv2D(5, **settings)(x) for _ in range(2)]
    x = keras.layers.Add()([*both, keras.layers.Conv2D(4, 3, **settings)(x)])
    model = keras.Model(image, keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(x)))
    raw = litert.converted(contract.Cargo(model, labelling, "{}", pixels), micro.int8_throughout)
    names = micro_graph.names_of(flatbuffer_utils.convert_bytearray_to_object(bytearray(raw)))
    assert (names.count("SPACE_TO_BATCH_ND"), names.count("BATCH_TO_SPACE_ND")) == (1, 2)
    slim = micro_graph.slimmed(raw)
    assert not {"SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"} & set(micro_graph.names_of(slim))
    content = bytes(flatbuffer_utils.convert_object_to_bytearray(slim))
    assert len(content) < len(raw)
    shown = np.random.default_rng(0).integers(-128, 128, (8, 1, *labelling.image_shape)).astype(np.int8)
    np.testing.assert_array_equal(answers(content, shown), answers(raw, shown))


def answers(content, shown):
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    given, made = (d[0]["index"] for d in (interpreter.get_input_details(), interpreter.get_output_details()))
    found = []
    for image in shown:
        interpreter.set_tensor(given, image)
        interpreter.invoke()
        found.append(interpreter.get_tensor(made))
    return np.stack(found)


def test_litert_must_answer_the_same(labelling):
    answers = np.array([[5, 4, -3], [0, 1, 9]], np.int8)

    def compare(theirs):
        micro.compare({"micro": answers, "litert": np.array(theirs, np.int8)}, answers, labelling)

    compare(answers)
    compare([[4, 5, -3], [0, 1, 9]])  # a tie, as far as rounding goes
    with pytest.raises(parity.ArtifactError, match="a difference of 2 and 1 of 2 images in another class"):
        compare([[4, 6, -3], [0, 1, 9]])
    with pytest.raises(parity.ArtifactError, match="a difference of 9 and 0 of 2"):
        compare([[5, 4, -12], [0, 1, 9]])


def test_methods_are_called_as_the_resolver_calls_them():
    """In micro_mutable_op_resolver.h of TensorFlow Lite for Microcontrollers."""
    methods = {
        "CONV_2D": "Conv2D",
        "ADD_N": "AddN",
        "RELU": "Relu",
        "MAX_POOL_2D": "MaxPool2D",
        "MEAN": "Mean",
    }
    methods |= {"DEPTHWISE_CONV_2D": "DepthwiseConv2D", "SPACE_TO_BATCH_ND": "SpaceToBatchNd"}
    assert {name: micro_graph._camel(name) for name in methods} == methods


def test_the_program_in_the_document_registers_what_a_real_network_needs(folder):
    """docs/microcontroller_operators.csv is of the quickstart's `micro.json`."""
    text = (DOCS / "microcontroller.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"^```cpp\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    with (DOCS / "microcontroller_operators.csv").open(encoding="utf-8", newline="") as file:
        methods = [row["method"].strip("`()") for row in csv.DictReader(file)]
    assert re.findall(r"resolver\.(\w+)\(\);", program) == methods
    header = (folder / "model.h").read_text(encoding="utf-8")
    for name in set(re.findall(r"\bhmnas_\w+|\bHMNAS_\w+", text)) - {"hmnas_tf"}:
        assert re.search(rf"{name}\b", header), name


def test_the_package_is_asked_for_before_anything_is_computed(monkeypatch, network, tmp_path):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "tflite_micro" else real(name)
    )
    (message,) = micro.missing_packages()
    assert message == "micro: expected tflite_micro, missing tflite_micro; pip install 'hmnas_tf[micro]'"
    with pytest.raises(ImportError, match="pip install"):
        artifacts.export_all(network, tmp_path / "model", ["micro"], np.zeros(0), np.zeros(0))
    assert list(tmp_path.iterdir()) == []
