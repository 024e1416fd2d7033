"""Networks made by hand: the published size, widths that grow evenly, and all that is done with a searched network."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from hmnas_tf.derivation.fold import fold
from hmnas_tf.derivation.pad import pad
from hmnas_tf.networks.counting import size_of
from hmnas_tf.networks.handmade import HAND_MADE, of_size, resnet8

SHAPE = (32, 32, 3)

each = pytest.mark.parametrize("name", HAND_MADE)


def test_resnet8_has_the_published_size():
    size = size_of(resnet8(16, SHAPE, 10))
    assert size["params"] == 77_850
    assert round(size["flops"], -5) == 12_500_000


@each
@pytest.mark.parametrize("most", [20_000, 78_000])
def test_a_size_is_met_within_four_percent(name, most):
    network = of_size(name, SHAPE, 10, {"params": most})
    assert 0.96 * most <= size_of(network)["params"] <= most
    assert network.output_shape == (None, 10)


@each
def test_what_nothing_meets_is_refused(name):
    with pytest.raises(ValueError, match=f"no {name} is so small"):
        of_size(name, SHAPE, 10, {"params": 10**9, "flops": 5})


@each
@pytest.mark.parametrize("size", [8, 9])
def test_folded_and_padded_it_computes_the_same(name, size):
    keras.utils.set_random_seed(1)
    network = HAND_MADE[name](3.5, (size, size, 1), 4)
    random = np.random.default_rng(0)
    for variable in network.variables:
        if variable.path.rpartition("/")[2] in ("gamma", "moving_variance", "beta", "moving_mean"):
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
    images = random.standard_normal((3, size, size, 1)).astype(np.float32)
    folded = fold(network)
    assert not [layer for layer in folded.layers if isinstance(layer, keras.layers.BatchNormalization)]
    expected = np.asarray(network(images))
    for model in (folded, pad(folded)):
        np.testing.assert_allclose(np.asarray(model(images)), expected, atol=1e-5 * np.abs(expected).max())
