"""Eq. 1: a mixed operation is the weighted sum of its candidates, for each edge apart."""

from __future__ import annotations

import numpy as np
import pytest

from hmnas_tf.layers.mixed_operation import MixedOperation
from hmnas_tf.settings.paper import PAPER_OPERATIONS


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("affine", [False, True])
def test_it_is_the_weighted_sum_of_its_candidates(affine, training, strides, images, randomise):
    mixed = MixedOperation(4, edges=2, strides=strides, operations=(*PAPER_OPERATIONS, "none"), affine=affine)
    x = images(2, 8, 8, 4)
    mixed.build(x.shape)
    randomise(mixed)
    weights = np.random.default_rng(3).uniform(0, 1, (2, 8)).astype("float32")
    weights[1, 4] = 0.0
    candidates = [candidate(x, training=training) for candidate in mixed.candidates]  # unweighted
    for edge, result in enumerate(mixed(x, weights, training=training)):
        expected = sum(weights[edge, o] * np.asarray(candidates[o][edge]) for o in range(8))
        np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-5)


def test_an_operation_of_weight_zero_has_no_say(images, randomise):
    mixed = MixedOperation(4, operations=("sep_conv_3x3", "identity"))
    x = images(2, 8, 8, 4)
    mixed.build(x.shape)
    randomise(mixed)
    np.testing.assert_array_equal(mixed(x, np.array([[0.0, 1.0]], np.float32), training=True)[0], x)


@pytest.mark.parametrize("operations", [("identity", "conv_7x7"), ()])
def test_unknown_operations_are_refused_with_the_known_ones(operations):
    with pytest.raises(ValueError, match="choose some of avg_pool_3x3, .*sep_conv_5x5"):
        MixedOperation(4, operations=operations)
