"""Peak memory of networks whose answer one can work out by hand."""

from __future__ import annotations

import keras
import pytest
from keras import layers

from hmnas_tf.derivation.fold import fold
from hmnas_tf.networks.handmade import resnet8
from hmnas_tf.networks.peak_memory import peak_values

STACK = 32 * 32 * 16  # values of a tensor of ResNet-8's first stack


@pytest.fixture(scope="module")
def resnet() -> keras.Model:
    return resnet8(16, (32, 32, 3), 10)


@pytest.mark.parametrize("form", ["as it is", "folded"])
def test_resnet_8_keeps_what_its_shortcut_adds(form, resnet):
    """At the second convolution of the first stack: the input of the stack, and what goes in and comes out."""
    network = resnet if form == "as it is" else fold(resnet)
    assert peak_values(network) == 3 * STACK


def test_a_chain_needs_two_neighbours():
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same")(image)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Conv2D(2, 3, strides=2, padding="same")(x)
    chain = keras.Model(image, layers.Dense(5)(layers.Flatten()(x)))
    assert peak_values(chain) == 8 * 8 * 3 + 8 * 8 * 4


def test_a_relu_works_in_place_unless_its_input_is_read_by_others():
    def network(shared):
        image = keras.Input((4, 4, 1), name="image")
        x = layers.Conv2D(8, 1)(image)  # 128 values
        y = layers.ReLU()(x)
        return keras.Model(image, layers.Add()([x, y]) if shared else layers.Conv2D(1, 1)(y))

    assert peak_values(network(False)) == 128 + 16
    assert peak_values(network(True)) == 3 * 128


def test_a_separable_convolution_has_a_tensor_inside():
    image = keras.Input((4, 4, 2), name="image")
    model = keras.Model(image, layers.SeparableConv2D(3, 3, depth_multiplier=4, padding="same")(image))
    assert peak_values(model) == 16 * 8 + 16 * 3


def test_several_terms_are_added_one_after_the_other():
    """So that the second and third of three pools need not wait for each other."""
    image = keras.Input((4, 4, 1), name="image")
    terms = [layers.Conv2D(8, size, padding="same")(image) for size in (1, 3, 5)]  # 128 values each
    model = keras.Model(image, layers.GlobalAveragePooling2D()(layers.Add()(terms)))
    assert peak_values(model) == 16 + 3 * 128
