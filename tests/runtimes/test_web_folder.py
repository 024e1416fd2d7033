"""The runtime of pages where there is no Node.js, and where what lies in a folder is no page."""

from __future__ import annotations

import gc
import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from hmnas_tf.runtimes import web_folder

FACTS = {"class_names": ["a", "b"], "mean": [0.5], "std": [0.25], "image_shape": [1, 2, 1]}
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node.js")


@pytest.fixture
def folder(tmp_path):
    """The logits of its network are the two pixels."""
    nodes = [helper.make_node("Flatten", ["image"], ["logits"])]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("image", (1, 1, 2, 1)), ("logits", (1, 2)))
    ]
    graph = helper.make_graph(nodes, "two", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {name: json.dumps(value) for name, value in FACTS.items()})
    onnx.save(model, tmp_path / web_folder.MODEL)
    (tmp_path / web_folder.LABELLING).write_text(json.dumps(FACTS), encoding="utf-8")
    return tmp_path


def test_without_node_the_network_is_run_in_python_and_that_is_said(folder, monkeypatch):
    monkeypatch.setattr(web_folder.shutil, "which", lambda name: None)
    artifact = web_folder.load(str(folder))
    assert json.loads(artifact.labelling) == FACTS
    images = np.float32([[[[1], [2]]], [[[4], [3]]]])
    np.testing.assert_array_equal(artifact.predict(images), [[1, 2], [4, 3]])
    found = artifact.examine(np.zeros((2, 1, 2, 1), np.uint8))
    assert list(found) == ["checked_with"]
    assert found["checked_with"].startswith("onnxruntime ")
    assert found["checked_with"].endswith("in Python, the network alone: there is no Node.js")


CLASSIFIER = """
export const RUNTIME = "a runtime";
console.log("not an answer");
export async function open(read) {
  const labelling = JSON.parse(new TextDecoder().decode(await read("labelling.json")));
  return {
    labelling,
    async run(numbers, shape) {
      if (shape[2] !== 2) throw new Error(`not the\\nshape ${shape}`);
      return { logits: numbers };
    },
    async classify({ data, height, width }) { return { logits: Float32Array.of(data[0], data[4], height, width) } },
  };
}
"""


@needs_node
def test_the_script_of_the_folder_is_run(folder):
    (folder / "classifier.js").write_text(CLASSIFIER)
    (folder / "package.json").write_text('{"type": "module"}')
    artifact = web_folder.load(str(folder))
    assert json.loads(artifact.labelling) == FACTS
    images = np.float32([[[[1], [2]]], [[[4], [3]]]])
    np.testing.assert_array_equal(artifact.predict(images), [[1, 2], [4, 3]])
    found = artifact.examine(np.uint8([[[[7], [9]]]]))
    assert found["checked_with"].startswith("a runtime in Node.js ")
    np.testing.assert_array_equal(found[web_folder.PICTURES], [[7, 9, 1, 2]])
    with pytest.raises(RuntimeError, match="^Error: not the shape 1,1,3,1$"):
        artifact.predict(np.zeros((1, 1, 3, 1), np.float32))


@needs_node
def test_its_process_ends_with_it(folder):
    (folder / "classifier.js").write_text(CLASSIFIER)
    (folder / "package.json").write_text('{"type": "module"}')
    artifact = web_folder.load(str(folder))
    process = artifact._node._process
    assert process.poll() is None
    del artifact
    gc.collect()
    assert process.poll() == 0


@needs_node
def test_a_folder_without_a_script_is_named(folder):
    with pytest.raises(RuntimeError, match="Cannot find module .*classifier.js"):
        web_folder.load(str(folder))
