"""Every public symbol of `hmnas_tf.layers` has an example in its docstring, and it is true."""

from __future__ import annotations

import doctest
import inspect
import re
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import hmnas_tf.layers

DICTIONARIES = {"KERNELS": "masked_layer", "OPERATIONS": "operations"}  # have no docstring: their module's


@pytest.mark.parametrize("name", hmnas_tf.layers.__all__)
def test_the_example_is_there_and_true(name):
    place = getattr(hmnas_tf.layers, name)
    if name in DICTIONARIES:
        place = sys.modules[f"hmnas_tf.layers.{DICTIONARIES[name]}"]
    names = {each: getattr(hmnas_tf.layers, each) for each in hmnas_tf.layers.__all__}
    parsed = doctest.DocTestParser().get_doctest(
        inspect.getdoc(place), names | {"keras": keras, "np": np}, name, None, None
    )
    assert parsed.examples
    said: list[str] = []
    result = doctest.DocTestRunner(verbose=False).run(parsed, out=said.append)
    assert result.failed == 0, "".join(said)


def test_pruning_as_the_document_shows_it(tmp_path, monkeypatch):
    """With fewer epochs."""
    text = (Path(__file__).parents[2] / "docs" / "layers.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    assert len([line for line in blocks[1].splitlines() if line]) <= 10
    program = "".join(blocks)
    for long, short in (("epochs=15", "epochs=1"), ("2e-4, 10", "2e-3, 1"), ("1e-3, 5", "1e-3, 1")):
        assert program.count(long) == 1
        program = program.replace(long, short)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(program, "docs/layers.md", "exec"), names)
    assert 0 < hmnas_tf.layers.weight_density(names["masked"]) < 1
    images = names["x_test"]
    expected = np.asarray(names["masked"](images, training=False))
    loaded = keras.models.load_model("pruned.keras")
    np.testing.assert_allclose(loaded(images, training=False), expected, atol=1e-6)
    assert sum(np.count_nonzero(v.numpy() == 0) for v in loaded.trainable_variables) > 1000
