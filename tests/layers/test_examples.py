"""Every public symbol of `hmnas_tf.layers` has an example in its docstring, and it is true."""

from __future__ import annotations

import doctest
import inspect
import sys

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
