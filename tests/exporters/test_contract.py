"""A model or labelling that would become a wrong artifact is refused in one line that names the remedy."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from hmnas_tf.exporters import contract

GOOD = {"class_names": ("a", "b"), "mean": (0.0,), "std": (1.0,), "image_shape": (4, 4, 1)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_shape": (4, 4)}, r"^image_shape: expected \(height, width, channels\)"),
        ({"image_shape": (0, 4, 1)}, "^image_shape: "),
        (
            {"mean": (0.0, 0.0)},
            r"^mean: expected one finite number for each of 1 channels, received \(0.0, 0.0\)",
        ),
        ({"mean": (float("nan"),)}, "^mean: "),
        ({"std": ()}, "^std: "),
        ({"std": (0.0,)}, "^std: expected numbers above 0"),
        ({"class_names": ("a", "b\udcff")}, "^class_names: the name of class 1 is not valid UTF-8"),
    ],
)
def test_labelling_is_checked(change, message):
    contract.Labelling(**GOOD)
    with pytest.raises(ValueError, match=message):
        contract.Labelling(**(GOOD | change))


def test_a_labelling_can_come_as_lists_and_numpy_numbers():
    labelling = contract.Labelling(["a"], np.float32([0.5]), [1], np.array([8, 8, 1]))
    assert labelling == contract.Labelling(("a",), (0.5,), (1.0,), (8, 8, 1))
    assert labelling.to_strings()["colour"] == "gray"


def small(name="image", shape=(4, 4, 1), classes=2, dtype="float32", layer=None):
    image = keras.Input(shape, name=name)
    x = layer(image) if layer else image
    x = keras.layers.Conv2D(3, 1, dtype=dtype, name="conv")(x)
    return keras.Model(image, keras.layers.Dense(classes)(keras.layers.GlobalAveragePooling2D()(x)))


class Doubled(keras.layers.Layer):
    def call(self, inputs):
        return inputs * 2.0


class Subclassed(keras.Model):
    def call(self, inputs):
        return inputs


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: small(name="x"),
            "^expected one input 'image' float32 .*'x'.*build the model from keras.Input",
        ),
        (lambda: small(shape=(None, None, 1)), "^expected one input 'image'"),
        (Subclassed, "^expected one input 'image'"),
        (lambda: small(shape=(4, 5, 1)), r"^image_shape: expected \(4, 5, 1\) as the model's input"),
        (lambda: small(classes=3), "^class_names: expected 3 names, one for each logit, received 2"),
        (
            lambda: small(dtype="mixed_bfloat16"),
            "^expected a float32 model, .*'conv' computing in bfloat16; .*set_weights",
        ),
        (
            lambda: small(layer=Doubled(name="twice")),
            "^expected stock Keras layers only, .*'twice' of .*Doubled",
        ),
        (
            lambda: small(layer=keras.layers.Lambda(lambda x: x)),
            "^expected stock Keras layers only, .*Lambda",
        ),
        (
            lambda: keras.Sequential([keras.Input((4, 4, 1), name="image"), keras.layers.ReLU()]),
            r"^expected one output of logits \(None, classes\), received \[\(None, 4, 4, 1\)\]",
        ),
    ],
)
def test_model_is_checked(make, message):
    contract.require_exportable(small(), contract.Labelling(**GOOD))
    with pytest.raises(ValueError, match=message):
        contract.require_exportable(make(), contract.Labelling(**GOOD))


def test_a_layer_inside_a_nested_model_is_checked():
    inner = keras.Sequential([keras.Input((4, 4, 1)), Doubled(name="twice")])
    with pytest.raises(ValueError, match="'twice'"):
        contract.require_exportable(small(layer=inner), contract.Labelling(**GOOD))
