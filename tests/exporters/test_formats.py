"""What is particular to a format: names, shapes, metadata, what it stores and how often."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import stat
import zipfile

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from onnx import numpy_helper
from onnxruntime.tools.mobile_helpers import usability_checker
from PIL import Image

from hmnas_tf.exporters import artifacts, keras_model, onnx_model, parity, saved_model, serving_files
from hmnas_tf.exporters.contract import Labelling
from hmnas_tf.runtimes.archive import LABELLING
from hmnas_tf.runtimes.saved_model_folder import WARMUP, Artifact
from hmnas_tf.runtimes.serving_requests import example, records


def unchecked(path):
    """Takes any artifact."""


@pytest.fixture(scope="module")
def servable(exported):
    return tf.saved_model.load(str(exported[0] / "model/saved_model/1"))


@pytest.fixture(scope="module")
def c_library(exported):
    return Artifact(str(exported[0] / "model/saved_model/1"))


@pytest.fixture
def files(pixels, tmp_path):
    """The images as PNG files."""
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{index:02d}.png")
    return [path.read_bytes() for path in sorted(tmp_path.glob("*.png"))]


def test_signatures(servable):
    assert sorted(servable.signatures) == sorted(saved_model.ENDPOINTS)
    inputs = {
        name: signature.structured_input_signature[1] for name, signature in servable.signatures.items()
    }
    assert inputs == {
        "serving_default": {"image": tf.TensorSpec((None, 8, 8, 3), tf.float32, "image")},
        "serving_uint8": {"image": tf.TensorSpec((None, 8, 8, 3), tf.uint8, "image")},
        "serving_bytes": {"image_bytes": tf.TensorSpec((None,), tf.string, "image_bytes")},
        "classify": {"inputs": tf.TensorSpec((None,), tf.string, "inputs")},
    }


def test_the_default_signature_names_its_outputs(servable, images, logits, labelling):
    signature = servable.signatures["serving_default"]
    outputs = signature(image=tf.constant(images))
    assert sorted(outputs) == ["class_id", "label", "logits", "probabilities"]
    shapes = {
        name: (value.dtype, value.shape.as_list()) for name, value in signature.structured_outputs.items()
    }
    assert shapes["logits"] == shapes["probabilities"] == (tf.float32, [None, 5])
    assert shapes["class_id"] == (tf.int64, [None])
    assert shapes["label"] == (tf.string, [None])
    np.testing.assert_allclose(outputs["probabilities"].numpy().sum(-1), 1.0, rtol=1e-6)
    np.testing.assert_array_equal(outputs["class_id"], logits.argmax(-1))
    names = [name.decode("utf-8") for name in outputs["label"].numpy()]
    assert names == [labelling.class_names[index] for index in logits.argmax(-1)]
    assert len(set(names)) > 1


def test_pixels_files_and_examples_give_what_normalised_images_give(
    c_library, pixels, files, logits, labelling
):
    expected = np.array([labelling.class_names[index].encode() for index in logits.argmax(-1)], object)
    for signature, inputs in (
        ("serving_uint8", {"image": pixels}),
        ("serving_bytes", {"image_bytes": files}),
    ):
        outputs = c_library.run(signature, **inputs)
        np.testing.assert_allclose(outputs["logits"], logits, atol=1e-5 * np.abs(logits).max())
        np.testing.assert_array_equal(outputs["label"], expected)
    outputs = c_library.run("classify", inputs=list(map(example, files)))
    np.testing.assert_array_equal(outputs["classes"][:, 0], expected)
    np.testing.assert_allclose(outputs["scores"].sum(-1), 1.0, rtol=1e-5)
    assert (np.diff(outputs["scores"], axis=-1) <= 0).all()


def test_files_of_other_sizes_are_cropped_and_resized_as_in_training(c_library, pixels):
    wide = np.kron(pixels[0], np.ones((2, 3, 1), np.uint8))  # 16 x 24
    (png,) = (tf.io.encode_png(wide).numpy(),)
    square = tf.image.resize(wide[:, 4:20], (8, 8), antialias=True)
    expected = c_library.run("serving_uint8", image=np.round(square).astype(np.uint8)[None])["logits"]
    received = c_library.run("serving_bytes", image_bytes=[png])["logits"]
    np.testing.assert_allclose(received, expected, atol=1e-5 * np.abs(expected).max())


def test_bad_input_is_refused(c_library, pixels):
    with pytest.raises(RuntimeError, match="Unknown image file format"):
        c_library.run("serving_bytes", image_bytes=[b"no image"])
    with pytest.raises(RuntimeError, match="is not compatible with expected shape"):
        c_library.run("serving_uint8", image=np.zeros((2, 16, 8, 3), np.uint8))
    with pytest.raises(ValueError, match=r"expected the inputs \['image'\], received \['picture'\]"):
        c_library.run("serving_uint8", picture=pixels)


def test_channels_that_no_file_has_go_without_the_endpoints_for_files():
    labelling = Labelling(("a", "b"), (0.5,) * 5, (1.0,) * 5, (8, 8, 5))
    assert saved_model.endpoints(labelling) == ["serving_default", "serving_uint8"]


def test_savedmodel_stores_every_weight_once(exported, model):
    reader = tf.train.load_checkpoint(str(exported[0] / "model/saved_model/1/variables/variables"))
    sizes = [
        np.prod(shape, dtype=int)
        for name, shape in reader.get_variable_to_shape_map().items()
        if reader.get_variable_to_dtype_map()[name] == tf.float32
    ]
    assert sum(sizes) == model.count_params()


def test_savedmodel_is_readable_by_a_server_and_carries_the_labelling(exported, labelling):
    version = exported[0] / "model/saved_model/1"
    assert stat.S_IMODE(version.stat().st_mode) == 0o755
    expected = json.loads(labelling.to_json())
    assert json.loads((version / "assets.extra/labelling.json").read_text()) == expected
    assert not (version / "debug").exists()


def test_every_signature_and_batch_size_is_warmed_up(exported, c_library, pixels):
    path = exported[0] / "model/saved_model/1" / WARMUP
    assert len(list(records(path))) == len(saved_model.ENDPOINTS) * len(serving_files.BATCH_SIZES)
    found = c_library.examine(pixels[:2])
    assert found["warmup_records"] == len(list(records(path)))


def test_a_warmup_request_that_fails_stops_the_publication(
    cargo, pixels, labels, network, tmp_path, monkeypatch
):
    bad = {"serving_bytes": lambda pixels: {"image_bytes": [b"no image"] * len(pixels)}}
    monkeypatch.setattr(serving_files, "INPUTS", serving_files.INPUTS | bad)
    with pytest.raises(parity.ArtifactError, match="saved_model: .* cannot be run: .*Unknown image"):
        artifacts.export_all(network, tmp_path / "model", ["saved_model"], pixels, labels)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("name", "batch"), [("model", "batch"), ("model_int8", "batch"), ("model_mobile", 1)]
)
def test_onnx_names_shapes_and_metadata(name, batch, exported, labelling, network):
    path = str(exported[0] / f"model/{name}.onnx")
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    assert [(opset.domain, opset.version) for opset in proto.opset_import] == [("", 17)]
    assert {node.domain for node in proto.graph.node} <= {"", "ai.onnx"}
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    assert (image.name, image.type, image.shape) == ("image", "tensor(float)", [batch, 8, 8, 3])
    outputs = [(output.name, output.type, output.shape) for output in session.get_outputs()]
    assert outputs == [(name, "tensor(float)", [batch, 5]) for name in ("logits", "probabilities")]
    meta = session.get_modelmeta()
    assert meta.producer_name == meta.graph_name == "hmnas_tf"
    assert meta.custom_metadata_map == labelling.to_strings() | {"genotype": network.genotype}
    assert json.loads(meta.custom_metadata_map["class_names"]) == list(labelling.class_names)
    assert meta.custom_metadata_map["colour"] == "RGB"


def test_onnx_probabilities_are_those_of_the_logits(exported, images):
    session = onnxruntime.InferenceSession(str(exported[0] / "model/model.onnx"))
    logits, probabilities = session.run(["logits", "probabilities"], {"image": images})
    np.testing.assert_allclose(probabilities, tf.nn.softmax(logits), rtol=1e-5)


def test_onnx_keeps_dilated_convolutions_whole(exported):
    proto = onnx.load(str(exported[0] / "model/model.onnx"))
    operations = {node.op_type for node in proto.graph.node}
    assert not operations & {"SpaceToDepth", "DepthToSpace", "Loop", "If", "Cast"}
    dilations = [
        list(attribute.ints)
        for node in proto.graph.node
        for attribute in node.attribute
        if attribute.name == "dilations"
    ]
    assert [2, 2] in dilations


def test_phones_can_run_the_file_for_batches_of_1(exported, caplog):
    """In the judgement of onnxruntime's own checker; with a free batch it finds no operation to run."""
    verdicts = {}
    for name in ("model_mobile", "model"):
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="usability"):
            usability_checker.analyze_model(
                exported[0] / f"model/{name}.onnx", logger=logging.getLogger("usability")
            )
        verdicts[name] = re.findall("perform well with (.*) as is: (YES|NO|MAYBE)", caplog.text)
    mobile, free = (dict(verdicts[name]) for name in ("model_mobile", "model"))
    assert mobile["NNAPI"] == mobile["CoreML NeuralNetwork"] == "YES"
    assert (
        mobile["CoreML MLProgram"] == "MAYBE"
    )  # for the one padding that no convolution can do: of odd sizes
    assert set(free.values()) == {"NO"}


def test_int8_files_hold_8_bits(exported):
    proto = onnx.load(str(exported[0] / "model/model_int8.onnx"))
    types = {tensor.data_type for tensor in proto.graph.initializer if numpy_helper.to_array(tensor).size > 8}
    assert onnx.TensorProto.INT8 in types
    assert {node.op_type for node in proto.graph.node} >= {"QuantizeLinear", "DequantizeLinear"}
    interpreter = Interpreter(str(exported[0] / "model/model_int8.tflite"))
    interpreter.allocate_tensors()
    kernels = [
        detail for detail in interpreter.get_tensor_details() if len(detail["shape"]) == 4 and detail["index"]
    ]
    assert np.int8 in {detail["dtype"] for detail in kernels}


def test_half_a_file_of_half_the_bits(exported):
    run, results = exported
    with zipfile.ZipFile(run / results["litert_fp16"]["path"]) as archive:
        assert archive.namelist() == ["labelling.json", "labels.txt"]
    interpreter = Interpreter(str(run / results["litert_fp16"]["path"]))
    assert np.float16 in {detail["dtype"] for detail in interpreter.get_tensor_details()}


def test_litert_signature_and_labels(exported, labelling):
    path = exported[0] / "model/model.tflite"
    signatures = Interpreter(str(path)).get_signature_list()
    assert signatures == {"serving_default": {"inputs": ["image"], "outputs": ["logits"]}}
    with zipfile.ZipFile(path) as archive:
        assert archive.read("labels.txt").decode().splitlines() == list(labelling.class_names)
        content = json.loads(archive.read("labelling.json"))
    assert content == json.loads(labelling.to_json())


def test_zeros_survive_every_float_format(cargo, model, tmp_path):
    thinned = keras.models.clone_model(model)
    values = [
        np.where(np.arange(v.size).reshape(v.shape) % 3, v, 0.0) if v.ndim == 4 else v
        for v in model.get_weights()
    ]
    thinned.set_weights(values)
    kernels = [v for v in thinned.get_weights() if v.ndim == 4]
    zeros = sorted(int((kernel == 0).sum()) for kernel in kernels)
    cargo = dataclasses.replace(cargo, model=thinned)
    path = keras_model.export_keras(cargo, tmp_path / "derived.keras", unchecked)
    weights = keras.models.load_model(path).get_weights()
    for received, expected in zip(weights, thinned.get_weights(), strict=True):
        np.testing.assert_array_equal(received, expected)
    path = onnx_model.export_onnx(cargo, tmp_path / "model.onnx", unchecked)
    graph = onnx.load(path).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    received = [constants[node.input[1]] for node in graph.node if node.op_type == "Conv"]
    assert sorted(int((kernel == 0).sum()) for kernel in received) == zeros


def test_keras_file_carries_the_labelling(exported, labelling):
    with zipfile.ZipFile(exported[0] / "model/derived.keras") as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_DEFLATED}
        content = json.loads(archive.read(LABELLING))
    assert content == json.loads(labelling.to_json())


def test_keras_file_leaves_the_optimizer_out(exported, cargo, other_model, tmp_path):
    trained = keras.models.clone_model(other_model)
    trained.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    trained.optimizer.build(trained.trainable_variables)
    with_optimizer = dataclasses.replace(cargo, model=trained)
    path = keras_model.export_keras(with_optimizer, tmp_path / "trained.keras", unchecked)
    with zipfile.ZipFile(path) as archive:
        assert b"optimizer" not in archive.read("model.weights.h5")
    np.testing.assert_array_equal(keras.models.load_model(path).get_weights()[0], trained.get_weights()[0])


def test_keras_file_tells_only_what_makes_a_difference(cargo, model, images, logits, tmp_path):
    """Keras 3.6, the oldest that was tried, knows no `renorm`, `quantization_config` or `ragged`."""
    path = keras_model.export_keras(cargo, tmp_path / "derived.keras", unchecked)
    with zipfile.ZipFile(path) as archive:
        configuration = json.loads(archive.read("config.json"))
    entries = {name for layer in configuration["config"]["layers"] for name in layer["config"]}
    newer = {"renorm", "renorm_clipping", "renorm_momentum", "quantization_config", "ragged", "sparse"}
    assert not entries & newer
    assert not [name for name in entries if name.endswith(("_initializer", "_regularizer", "_constraint"))]
    assert {"data_format", "dtype", "epsilon", "scale", "offset", "use_bias"} <= entries
    loaded = keras.models.load_model(path)
    np.testing.assert_array_equal(loaded(images, training=False), logits)
    kinds = [(type(layer), layer.get_config()) for layer in loaded.layers]
    assert kinds == [(type(layer), layer.get_config()) for layer in cargo.model.layers]


def test_configuration_of_a_server_lies_beside_the_versions(exported):
    folder = exported[0] / "model/serving"
    assert sorted(path.name for path in folder.iterdir()) == [
        "batching.config",
        "models.config",
        "monitoring.config",
    ]
    text = (folder / "batching.config").read_text()
    sizes = [int(line.split()[1]) for line in text.splitlines() if line.startswith("allowed_batch_sizes")]
    assert tuple(sizes) == serving_files.BATCH_SIZES
