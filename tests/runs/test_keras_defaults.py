"""A run does not depend on Keras' global settings, and leaves them as they were."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np
import pytest

from hmnas_tf.layers import MaskedCell, MaskedConv2D
from hmnas_tf.runs.keras_defaults import DEFAULTS, NAMES, own_defaults


def settings() -> list:
    return [getattr(keras.config, name)() for name in NAMES]


@pytest.fixture
def strange_settings() -> Iterator[None]:
    before = settings()
    keras.config.set_image_data_format("channels_first")
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("mixed_float16")
    keras.config.set_epsilon(1e-3)
    keras.config.set_max_epochs(1)
    yield
    for name, value in zip(NAMES, before, strict=True):
        getattr(keras.config, f"set_{name}")(value)


def test_inside_they_are_keras_defaults_and_afterwards_what_they_were(strange_settings):
    before = settings()
    with pytest.raises(RuntimeError, match="stop"), own_defaults():
        found = settings()
        assert (found[0], found[1].name, *found[2:]) == DEFAULTS
        raise RuntimeError("stop")
    assert settings() == before


def test_layers_and_files_say_their_own_data_format(strange_settings, tmp_path):
    """Also a cell's pools, strides and paddings, and a scale for each channel."""
    keras.config.set_dtype_policy("float32")
    image = keras.Input((8, 8, 3), dtype="float32")
    kinds = dict(nodes=1, operations=("max_pool_3x3", "avg_pool_3x3", "sep_conv_3x3", "identity"))
    x = MaskedConv2D(4, 3, strides=2)(image)
    x = MaskedCell(4, reduction=True, **kinds)(x, x)
    network = keras.Model(image, x)
    shown = np.random.default_rng(0).standard_normal((2, 8, 8, 3)).astype("float32")
    first = np.asarray(network(shown))
    assert first.shape == (2, 2, 2, 4)
    network.save(tmp_path / "network.keras")
    keras.config.set_image_data_format("channels_last")
    np.testing.assert_array_equal(network(shown), first)
    loaded = keras.models.load_model(tmp_path / "network.keras")
    np.testing.assert_allclose(loaded(shown), first, rtol=1e-6)
