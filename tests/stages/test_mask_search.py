"""Mask search moves masks, nothing else, in the direction the loss and the price say."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.settings.paper import MASK_INITIAL
from hmnas_tf.stages.mask_search import MaskSearch
from hmnas_tf.stages.stage import cross_entropy

WEIGHT_RATE, ARCHITECTURE_RATE = 1e-3, 1e-4


def make_search(
    supernet, weight_rate=WEIGHT_RATE, architecture_rate=ARCHITECTURE_RATE, price=0.0, **learning
):
    return MaskSearch(
        supernet,
        weight_mask_optimizer=keras.optimizers.Adam(weight_rate),
        architecture_mask_optimizer=keras.optimizers.Adam(architecture_rate),
        operation_price=price,
        **learning,
    )


def survivors(supernet) -> np.ndarray:
    return np.stack([np.asarray(encoding.gates()) for encoding in supernet.encodings])


def loss_of(supernet, batch) -> float:
    return float(cross_entropy(batch[1], supernet(batch[0], training=True)))


def test_only_real_masks_change(make_supernet, make_batch, values, bitwise_equal):
    supernet = make_supernet()
    search = make_search(supernet)
    frozen = [*supernet.network_weights, *supernet.architecture_parameters]
    before, masks = values(frozen), values(supernet.real_masks)
    for seed in range(2):
        search.train_step(make_batch(seed))
    assert bitwise_equal(values(frozen), before)
    assert all((a != b).any() for a, b in zip(values(supernet.real_masks), masks, strict=True))


def test_weights_follow_the_masks_if_they_have_an_optimizer(make_supernet, make_batch, values):
    frozen, learning = make_supernet(), make_supernet()
    batch = make_batch(0)
    weights = [variable.value for variable in learning.network_weights]
    with tf.GradientTape() as tape:
        loss = cross_entropy(batch[1], learning(batch[0], training=True))
    expected = [w - 0.05 * (g + 0.1 * w) for w, g in zip(weights, tape.gradient(loss, weights), strict=True)]
    search = make_search(learning, weight_optimizer=keras.optimizers.SGD(0.05), weight_decay=0.1)
    for stage in (search, make_search(frozen)):
        stage.train_step(batch)
    for weight, value in zip(learning.network_weights, expected, strict=True):
        np.testing.assert_allclose(weight.numpy(), value, rtol=1e-4, atol=1e-6)
    for one, other in zip(values(learning.real_masks), values(frozen.real_masks), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert len(search.optimizers) == 3


def test_the_two_optimizers_have_rates_of_their_own(make_supernet, make_batch):
    supernet = make_supernet()
    search = make_search(supernet)
    search.train_step(make_batch(0))
    for masks, rate in (
        (supernet.weight_masks, WEIGHT_RATE),
        (supernet.architecture_masks, ARCHITECTURE_RATE),
    ):
        moved = max(np.abs(mask.numpy() - MASK_INITIAL).max() for mask in masks)
        assert moved == pytest.approx(rate, rel=0.02)
    assert [int(optimizer.iterations) for optimizer in search.optimizers] == [1, 1]


def test_a_weight_mask_falls_where_shrinking_the_weight_lowers_the_loss(make_supernet, make_batch):
    """The slope in M at M = 1 is w times the slope in w, because the kernel is w * M."""
    supernet, batch = make_supernet(), make_batch(0)
    variables = {variable.path: variable for variable in supernet.network_weights}
    kernels = [variables[mask.path.replace("real_mask", "kernel")] for mask in supernet.weight_masks]
    with tf.GradientTape() as tape:
        loss = cross_entropy(batch[1], supernet(batch[0], training=True))
    slopes = [
        w.numpy() * g.numpy()
        for w, g in zip(kernels, tape.gradient(loss, [kernel.value for kernel in kernels]), strict=True)
    ]
    make_search(supernet).train_step(batch)
    compared = 0
    for mask, slope in zip(supernet.weight_masks, slopes, strict=True):
        moved, clear = mask.numpy() - MASK_INITIAL, np.abs(slope) > 1e-4
        assert (np.sign(moved[clear]) == -np.sign(slope[clear])).all()
        compared += clear.sum()
    assert compared > 500


def test_an_operation_mask_falls_where_weakening_the_operation_lowers_the_loss(make_supernet, make_batch):
    supernet, batch = make_supernet(), make_batch(0)
    encoding = supernet.encodings[0]
    importance = np.asarray(encoding.mixing_weights())
    slope = np.zeros_like(importance)
    for place in np.ndindex(*importance.shape):
        change = np.zeros_like(importance)
        change[place] = 0.02 * importance[place]
        losses = []
        for sign in (1, -1):
            encoding.mixing_weights = lambda sign=sign, change=change: tf.constant(importance + sign * change)
            losses.append(loss_of(supernet, batch))
        slope[place] = (losses[0] - losses[1]) / 0.04
    del encoding.mixing_weights
    make_search(supernet).train_step(batch)
    clear = np.abs(slope) > 1e-3
    assert clear.sum() >= 8
    moved = encoding.operation_mask.numpy() - MASK_INITIAL
    assert (np.sign(moved[clear]) == -np.sign(slope[clear])).all()


def test_a_mask_that_fell_to_0_still_feels_the_loss_and_comes_back(make_supernet, make_batch):
    supernet, batch = make_supernet(), make_batch(0)
    for mask in supernet.weight_masks:
        mask.assign(np.where(np.arange(np.prod(mask.shape)).reshape(mask.shape) % 2, 1e-2, 4.9e-3))
    before = [convolution.binary_mask() for convolution in supernet.masked_convolutions]
    make_search(supernet).train_step(batch)
    after = [convolution.binary_mask() for convolution in supernet.masked_convolutions]
    back = sum(int((~a & b).sum()) for a, b in zip(before, after, strict=True))
    stayed = sum(int((~a & ~b).sum()) for a, b in zip(before, after, strict=True))
    assert back > 50
    assert stayed > 50


def test_a_price_removes_operations_that_would_stay_for_nothing(make_supernet, make_batch):
    kept = {}
    for price in (0.0, 10.0):
        supernet = make_supernet()
        search = make_search(supernet, architecture_rate=3e-3, price=price)
        for seed in range(2):
            search.train_step(make_batch(seed))
        kept[price] = survivors(supernet)
    assert kept[0.0].sum() > 3
    assert 1 <= kept[10.0].sum() < kept[0.0].sum()


def test_the_price_is_not_in_the_loss_that_is_shown(make_supernet, make_batch):
    batch = make_batch(0)
    expected = loss_of(make_supernet(), batch)
    for price in (0.0, 10.0):
        shown = make_search(make_supernet(), price=price).train_step(batch)
        assert float(shown["loss"]) == pytest.approx(expected, rel=1e-5)


def test_masks_lower_the_loss_of_frozen_weights(make_supernet, make_batch):
    supernet, batch = make_supernet(), make_batch(0)
    search = make_search(supernet, weight_rate=1e-3)
    before = loss_of(supernet, batch)
    for _ in range(8):
        search.train_step(batch)
    assert loss_of(supernet, batch) < 0.8 * before
    assert any(not convolution.binary_mask().all() for convolution in supernet.masked_convolutions)
