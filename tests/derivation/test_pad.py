"""Padded channels change how fast a network is, never what it computes."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers
from test_fold import EXACT, randomised
from test_width import narrow

from hmnas_tf.derivation.derive import derive
from hmnas_tf.derivation.fold import fold
from hmnas_tf.derivation.pad import MULTIPLE, pad
from hmnas_tf.derivation.rules import genotype_of


def filters(model: keras.Model) -> list[int]:
    return [layer.filters for layer in model.layers if type(layer) is layers.Conv2D]


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("stem", "size"), [("cifar", 9), ("imagenet", 64)])
def test_a_padded_network_computes_what_the_folded_one_does(
    stem, size, seed, make_supernet, randomise, images, difference
):
    supernet = make_supernet(size=size, stem=stem, channels=10, width_masks=True)
    randomise(supernet, seed, density=0.6, of_weights=0.5)
    narrow(supernet, seed)
    folded = fold(randomised(derive(supernet, genotype_of(supernet, "masks"), (size, size, 3))))
    padded = pad(folded)
    assert any(number % MULTIPLE for number in filters(folded))
    assert difference(padded(images(size)), folded(images(size))) < EXACT
    assert padded.output_shape == folded.output_shape
    assert [tensor.name for tensor in padded.inputs] == ["image"]
    wide = [layer for layer in padded.layers if len(layer.output.shape) == 4 and layer.output.shape[-1] > 3]
    halves = [layer for layer in wide if type(layer) is layers.Conv2D and layer.strides == (2, 2)]
    odd = [layer.name for layer in wide if layer.output.shape[-1] % MULTIPLE and layer not in halves]
    assert odd == [], "all tensors but the halves of factorized reduces"


def test_what_has_multiples_already_stays_what_it_is(make_supernet, randomise):
    supernet = randomise(make_supernet(), density=1.0)
    folded = fold(derive(supernet, genotype_of(supernet, "masks"), (8, 8, 3)))
    assert pad(folded, 2) is folded
    assert pad(folded, 1) is folded


def test_a_network_that_takes_channels_apart_is_left_alone(make_supernet, randomise):
    supernet = randomise(make_supernet(channels=12, partial_channels=2))
    folded = fold(derive(supernet, genotype_of(supernet, "masks"), (8, 8, 3)))
    assert any(number % MULTIPLE for number in filters(folded))
    assert pad(folded) is folded


def test_scales_and_offsets_of_what_is_padded_stay_with_their_channels(difference):
    image = keras.Input((5, 5, 3), name="image")
    random = np.random.default_rng(0)
    x = layers.Conv2D(6, 1)(image)
    y = layers.Rescaling(random.random((1, 1, 6)).tolist(), random.random(6).tolist())(layers.ReLU()(x))
    y = layers.Add()([y, layers.Rescaling(0.5, 0.25)(x)])
    model = keras.Model(image, layers.Dense(4)(layers.GlobalAveragePooling2D()(y)))
    shown = random.standard_normal((2, 5, 5, 3), np.float32)
    padded = pad(model)
    assert filters(padded) == [8]
    assert difference(padded(shown), model(shown)) < EXACT


def test_a_sum_of_other_channels_is_refused():
    image = keras.Input((5, 5, 3), name="image")
    one, two, three = (layers.Conv2D(number, 1, name=f"c{number}")(image) for number in (6, 3, 5))
    four = layers.ReLU()(layers.Conv2D(1, 1)(image))
    y = layers.Add(name="sum")([one, layers.Concatenate()([layers.ReLU()(three), four])])
    y = layers.Concatenate()([y, layers.ReLU()(two)])
    model = keras.Model(image, layers.Dense(4)(layers.GlobalAveragePooling2D()(y)))
    with pytest.raises(ValueError, match="'sum' adds"):
        pad(model)
