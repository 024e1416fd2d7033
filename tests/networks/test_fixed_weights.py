"""The gradients of the architecture are the same whether or not a graph could be differentiated in the weights too."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.layers.learning import MASKS, WEIGHTS, fixed


def gradients(supernet, images) -> list:
    parameters = [variable.value for variable in supernet.architecture_parameters]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(parameters)
        loss = tf.reduce_sum(tf.sin(supernet(images, training=True)))
    return tape.gradient(loss, parameters)


@pytest.mark.parametrize(
    "settings",
    [{}, {"cells": 4}, {"stem": "imagenet", "size": 32}, {"recompute": True}, {"partial_channels": 2}],
    ids=str,
)
def test_the_architecture_has_the_same_gradients(settings, make_supernet):
    supernet = make_supernet(**settings)
    size = settings.get("size", 8)
    images = tf.constant(np.random.default_rng(0).standard_normal((3, size, size, 3)), tf.float32)
    for number, variable in enumerate(supernet.architecture_parameters):
        variable.assign(np.random.default_rng(number).standard_normal(variable.shape))
    expected = gradients(supernet, images)
    with fixed(WEIGHTS, MASKS):
        found = tf.function(gradients, autograph=False)(supernet, images)
    for ours, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=2e-3, atol=2e-4 * np.abs(wanted).max())
        assert np.abs(wanted).max() > 1e-3
