"""Warm-up requests written by hand are those of TF Serving's own messages, and read as they are."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from hmnas_tf.runtimes.serving_requests import (
    CLASSIFY,
    EXAMPLE_FEATURE,
    STRING,
    TYPES,
    example,
    prediction_log,
    records,
    request,
)

fuzz = settings(max_examples=50, deadline=None, database=None, derandomize=True)
FILES = st.lists(st.binary(max_size=300), max_size=4)
ARRAYS = st.sampled_from([np.float32, np.uint8, np.int64]).flatmap(
    lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
)
IMAGES = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)


def assert_same(value, expected) -> None:
    np.testing.assert_array_equal(value, expected)
    assert (value.dtype, value.shape) == (expected.dtype, expected.shape)


def theirs(signature: str, **inputs: tf.TensorProto) -> bytes:
    """Returns a request as TF Serving's own package writes it."""
    log = PredictionLog()
    log.predict_log.request.model_spec.name = "any"
    log.predict_log.request.model_spec.signature_name = signature
    log.predict_log.request.model_spec.version.value = 3
    for name, tensor in inputs.items():
        log.predict_log.request.inputs[name].CopyFrom(tensor)
    log.predict_log.request.output_filter.append("logits")
    log.predict_log.response.outputs["logits"].CopyFrom(tf.make_tensor_proto([0.5, 0.25]))
    log.log_metadata.model_spec.name = "any"
    return log.SerializeToString()


def test_types_are_tensorflows():
    for code, dtype in TYPES.items():
        assert tf.as_dtype(dtype).as_datatype_enum == code
    assert tf.string.as_datatype_enum == STRING


@fuzz
@given(inputs=st.dictionaries(st.text(max_size=8), ARRAYS, max_size=3), model=st.text(max_size=8))
def test_a_prediction_is_what_tf_serving_reads(inputs, model):
    log = PredictionLog.FromString(prediction_log(model, "serving_uint8", inputs))
    assert log.WhichOneof("log_type") == "predict_log"
    asked = log.predict_log.request
    assert (asked.model_spec.name, asked.model_spec.signature_name) == (model, "serving_uint8")
    assert set(asked.inputs) == set(inputs)
    for name, tensor in asked.inputs.items():
        assert_same(tf.make_ndarray(tensor), inputs[name])


@fuzz
@given(files=FILES)
def test_strings_are_what_tf_serving_reads(files):
    log = PredictionLog.FromString(prediction_log("model", "serving_bytes", {"image_bytes": files}))
    tensor = log.predict_log.request.inputs["image_bytes"]
    assert (tensor.dtype, [size.size for size in tensor.tensor_shape.dim]) == (STRING, [len(files)])
    assert list(tensor.string_val) == files


@fuzz
@given(files=FILES)
def test_a_classification_is_what_tf_serving_reads(files):
    written = prediction_log("model", CLASSIFY, {"inputs": [example(file) for file in files]})
    log = PredictionLog.FromString(written)
    assert log.WhichOneof("log_type") == "classify_log"
    asked = log.classify_log.request
    assert (asked.model_spec.name, asked.model_spec.signature_name) == ("model", "classify")
    found = [dict(e.features.feature) for e in asked.input.example_list.examples]
    assert [list(features) for features in found] == [["image/encoded"]] * len(files)
    assert [list(features["image/encoded"].bytes_list.value) for features in found] == [[f] for f in files]


@fuzz
@given(file=st.binary(max_size=300))
def test_an_example_is_tensorflows(file):
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[file]))
    expected = tf.train.Example(features=tf.train.Features(feature={EXAMPLE_FEATURE: feature}))
    assert tf.train.Example.FromString(example(file)) == expected
    described = {EXAMPLE_FEATURE: tf.io.FixedLenFeature([], tf.string)}
    assert tf.io.parse_single_example(example(file), described)[EXAMPLE_FEATURE].numpy() == file


def test_an_array_need_not_be_contiguous():
    turned = IMAGES[:, ::-1].transpose(0, 2, 1, 3)
    _, inputs = request(prediction_log("model", "serving_uint8", {"image": turned}))
    assert_same(inputs["image"], turned)


@fuzz
@given(inputs=st.dictionaries(st.text(max_size=8), ARRAYS | FILES, max_size=3), signature=st.text(max_size=8))
def test_a_request_is_read_as_it_was_written(inputs, signature):
    name, found = request(prediction_log("model", signature, inputs))
    assert name == signature
    assert set(found) == set(inputs)
    for key, value in found.items():
        if isinstance(value, list):
            assert value == inputs[key]
        else:
            assert_same(value, inputs[key])


@pytest.mark.parametrize(
    "value", [IMAGES, IMAGES.astype(np.float32) / 7, np.arange(-3, 5)], ids=lambda v: str(v.dtype)
)
def test_a_request_that_tf_serving_wrote_is_read(value):
    name, inputs = request(
        theirs("some_signature", image=tf.make_tensor_proto(value), texts=tf.make_tensor_proto([b"a", b""]))
    )
    assert name == "some_signature"
    assert set(inputs) == {"image", "texts"}
    assert_same(inputs["image"], value)
    assert inputs["texts"] == [b"a", b""]


def test_a_classification_that_tf_serving_wrote_is_read():
    log = PredictionLog()
    log.classify_log.request.model_spec.name = "any"
    log.classify_log.request.model_spec.signature_name = "by_example"
    feature = tf.train.Feature(int64_list=tf.train.Int64List(value=[7]))
    texts = []
    for name in ("a", "b"):
        one = log.classify_log.request.input.example_list.examples.add()
        one.features.feature[name].CopyFrom(feature)
        texts.append(one.SerializeToString())
    assert request(log.SerializeToString()) == ("by_example", {"inputs": texts})


@pytest.mark.parametrize("kind", ["regress_log", "multi_inference_log", "session_run_log"])
def test_other_requests_are_refused(kind):
    log = PredictionLog()
    getattr(log, kind).request.SetInParent()
    with pytest.raises(ValueError, match="neither a prediction nor a classification"):
        request(log.SerializeToString())


@pytest.mark.parametrize(
    ("signature", "inputs"),
    [
        ("serving_uint8", {"image": IMAGES[:1, :2, :2]}),
        ("serving_bytes", {"image_bytes": [b"one", b"two"]}),
        (CLASSIFY, {"inputs": [example(b"file")]}),
    ],
)
def test_every_cut_request_is_refused(signature, inputs):
    whole = prediction_log("model", signature, inputs)
    request(whole)
    for end in range(len(whole)):
        with pytest.raises(ValueError, match="ends too early|neither a prediction"):
            request(whole[:end])


# Files


@pytest.fixture
def written(tmp_path):
    """A file of three records, one of them empty, and the records."""
    content = [b"first" * 100, b"", prediction_log("model", "serving_uint8", {"image": IMAGES})]
    path = tmp_path / "requests"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in content:
            writer.write(record)
    return path, content


def test_records_are_those_that_tensorflow_wrote(written):
    path, content = written
    assert list(records(path)) == content
    path.write_bytes(b"")
    assert list(records(path)) == []


def test_a_file_that_ends_within_a_record_is_refused(written):
    """Whole records before the cut are given out first."""
    path, content = written
    whole, ends = path.read_bytes(), [0]
    for record in content:
        ends.append(ends[-1] + 12 + len(record) + 4)  # length, its checksum, content, its checksum
    assert ends[-1] == len(whole)
    for before in range(len(content)):
        for end in range(ends[before] + 1, ends[before + 1]):
            path.write_bytes(whole[:end])
            found = []
            with pytest.raises(ValueError, match="requests ends within a record"):
                for record in records(path):
                    found.append(record)
            assert found == content[:before]


# Imports


@pytest.mark.parametrize("runtime", ["onnx_file", "saved_model_folder"])
def test_a_runtime_without_tensorflow_loads_neither_it_nor_keras(runtime):
    program = f"import sys, hmnas_tf.runtimes.{runtime} as r; assert r.load; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "hmnas_tf" in loaded
    assert not loaded & {"tensorflow", "keras", "tensorflow_serving", "google"}
