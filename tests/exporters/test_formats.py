"""What is particular to a format: names, shapes, metadata, sizes."""

from __future__ import annotations

import dataclasses
import json
import stat
import zipfile

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf

from hmnas_tf.exporters import keras_model, saved_model


@pytest.fixture(scope="module")
def servable(exported):
    return tf.saved_model.load(str(exported[0] / "model/saved_model/1"))


def test_signature(servable, images, logits, labelling):
    assert list(servable.signatures) == list(saved_model.ENDPOINTS) == ["serving_default"]
    signature = servable.signatures["serving_default"]
    assert signature.structured_input_signature == (
        (),
        {"image": tf.TensorSpec((None, 8, 8, 3), tf.float32, "image")},
    )
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
    expected = json.loads(json.dumps(dataclasses.asdict(labelling)))
    assert json.loads((version / "assets.extra/labelling.json").read_text()) == expected
    assert not (version / "debug").exists()


def test_onnx_names_shapes_and_metadata(exported, labelling):
    path = str(exported[0] / "model/model.onnx")
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    assert [(opset.domain, opset.version) for opset in proto.opset_import] == [("", 17)]
    assert {node.domain for node in proto.graph.node} <= {"", "ai.onnx"}
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (image,), (logits,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.type, image.shape) == ("image", "tensor(float)", ["batch", 8, 8, 3])
    assert (logits.name, logits.type, logits.shape) == ("logits", "tensor(float)", ["batch", 5])
    meta = session.get_modelmeta()
    assert meta.producer_name == meta.graph_name == "hmnas_tf"
    assert meta.custom_metadata_map == labelling.to_strings()
    assert json.loads(meta.custom_metadata_map["class_names"]) == list(labelling.class_names)
    assert meta.custom_metadata_map["colour"] == "RGB"


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


def test_zeros_survive(exported, model):
    weights = keras.models.load_model(exported[0] / "model/derived.keras").get_weights()
    for received, expected in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(received, expected)


def test_keras_file_carries_the_labelling(exported, labelling):
    with zipfile.ZipFile(exported[0] / "model/derived.keras") as archive:
        assert archive.testzip() is None
        content = json.loads(archive.read(keras_model.LABELLING_MEMBER))
    assert content == json.loads(json.dumps(dataclasses.asdict(labelling)))


def test_keras_file_leaves_the_optimizer_out(exported, other_model, tmp_path):
    trained = keras.models.clone_model(other_model)
    trained.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    trained.optimizer.build(trained.trainable_variables)
    path = keras_model.save_keras(trained, tmp_path / "trained.keras")
    plain = (exported[0] / "model/derived.keras").stat().st_size
    assert path.stat().st_size <= plain
    np.testing.assert_array_equal(keras.models.load_model(path).get_weights()[0], trained.get_weights()[0])
