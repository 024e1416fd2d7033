"""What counts as the memory of a network, before it is exported."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import layers

from hmnas_tf.exporters.artifacts import Network
from hmnas_tf.exporters.contract import Labelling
from hmnas_tf.runs import memory
from hmnas_tf.runs.memory import TooLargeError, needed_by, require_memory

SHAPE = (8, 8, 1)
WIDE = 8 * 8 * (1 + 12)  # values that the only convolution needs


@pytest.fixture(scope="module")
def network() -> Network:
    image = keras.Input(SHAPE, name="image")
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(layers.Conv2D(12, 3, padding="same")(image)))
    model = keras.Model(image, layers.Dense(2)(x))
    labelling = Labelling(("a", "b"), (0.5,), (0.5,), SHAPE)
    pixels = np.random.default_rng(0).integers(0, 256, (8, *SHAPE)).astype(np.uint8)
    return Network(model, model, model, labelling, "{}", pixels)


@pytest.fixture
def asked(network, monkeypatch):
    """Asks for a limit with settings of the exports; returns what was said."""
    monkeypatch.setattr(memory, "network_of", lambda *arguments: network)

    def ask(kilobytes, formats=("litert",), quantize=("none",), done=False):
        config = SimpleNamespace(max_memory_kb=kilobytes, formats=formats, quantize=quantize)
        said: list[str] = []
        run = SimpleNamespace(
            config=config, folder=None, dataset=None, done=lambda stage: done, say=said.append
        )
        require_memory(run, lambda: None)
        return said

    return ask


def test_activations_of_32_or_8_bits_count(asked):
    assert 4 * WIDE == 3328
    assert asked(0) == []
    assert asked(1, done=True) == []  # a run that goes on, with its weights fine-tuned
    assert asked(4)[-1] == "memory: 3.3 kB in litert, of 4 kB asked for"
    with pytest.raises(TooLargeError, match="needs 3.3 kB in litert.*--max_memory_kb=4 or 0.*about 0.8 kB"):
        asked(3)
    assert asked(2, quantize=("none", "int8"))[-1] == "memory: 0.8 kB in litert_int8, of 2 kB asked for"


@pytest.mark.skipif(importlib.util.find_spec("tflite_micro") is None, reason="tflite_micro is not installed")
def test_of_a_microcontroller_the_whole_arena_counts(asked, network):
    arena = needed_by(network, "micro")
    assert arena > WIDE
    with pytest.raises(TooLargeError, match=f"needs {arena / 1000:,.1f} kB in micro") as raised:
        asked(arena // 1000, formats=("litert", "micro"))
    assert "8 bits" not in str(raised.value)
    assert asked(arena // 1000 + 1, formats=("litert", "micro"))
