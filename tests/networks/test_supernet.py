"""Size, variables and function of the supernet."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.layers.binary_mask import binarize
from hmnas_tf.layers.flat import Part
from hmnas_tf.networks.supernet import Supernet
from hmnas_tf.settings.paper import PAPER_OPERATIONS
from hmnas_tf.space.topology import Topology

DARTS_OPERATIONS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "identity",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)


@pytest.mark.parametrize(
    ("channels", "cells", "operations", "affine", "weights"),
    [
        (36, 3, PAPER_OPERATIONS, False, 2_950_390),
        (36, 3, PAPER_OPERATIONS, True, 3_011_302),
        (16, 8, DARTS_OPERATIONS, False, 1_930_618),
    ],
    ids=["paper", "paper affine", "DARTS search network"],
)
def test_number_of_network_weights(channels, cells, operations, affine, weights, make_supernet):
    supernet = make_supernet(cells, 4, operations, size=32, channels=channels, classes=10, affine=affine)
    assert sum(math.prod(variable.shape) for variable in supernet.network_weights) == weights


def owner(value) -> keras.Variable:
    """Returns the variable that a value of a layer lies in."""
    return value.flat.variable if isinstance(value, Part) else value


@pytest.mark.parametrize(("sharing", "groups"), [("all", 1), ("type", 2), ("cell", 3)])
def test_variables_fall_into_four_disjoint_and_complete_groups(sharing, groups, make_supernet):
    supernet = make_supernet(cell_sharing=sharing)
    parts = [
        supernet.network_weights,
        supernet.architecture_parameters,
        supernet.real_masks,
        supernet.batch_statistics,
    ]
    ids = [id(variable) for part in parts for variable in part]
    assert len(ids) == len(set(ids))
    assert set(ids) == {id(variable) for variable in supernet.variables}
    assert all(parts)
    assert len(supernet.architecture_parameters) == 2 * groups
    assert len(supernet.architecture_masks) == 2 * groups
    masks = {id(variable) for variable in supernet.architecture_masks + supernet.weight_masks}
    assert masks == {id(variable) for variable in supernet.real_masks}
    assert all("moving" in variable.name for variable in supernet.batch_statistics)
    kernels = {id(owner(convolution.kernel)) for convolution in supernet.masked_convolutions}
    assert kernels < {id(variable) for variable in supernet.network_weights}


def test_every_convolution_has_a_mask_and_the_classifier_has_none(make_supernet):
    """Kernels of the stem, both preprocessings of each cell and all candidate operations; nothing else."""
    supernet = make_supernet()
    kernels = [variable for variable in supernet.network_weights if variable.name == "kernel"]
    masked = {id(owner(convolution.kernel)) for convolution in supernet.masked_convolutions}
    assert [variable for variable in kernels if id(variable) not in masked] == [supernet.classifier.kernel]
    for convolution in supernet.masked_convolutions:
        assert convolution.real_mask.shape == convolution.kernel.shape


@pytest.mark.parametrize(("stem", "size"), [("cifar", 8), ("cifar", 9), ("narrow", 8), ("imagenet", 32)])
@pytest.mark.parametrize("cells", [1, 3])
def test_logits(cells, stem, size, make_supernet):
    supernet = make_supernet(cells, 1, stem=stem, size=size)
    x = np.random.default_rng(0).standard_normal((2, size, size, 3), np.float32)
    for training in (False, True):
        logits = supernet(x, training=training)
        assert logits.shape == (2, 5)
        assert np.isfinite(logits).all()


def test_smallest_image_is_enough(make_supernet):
    topology = Topology(initial_channels=4, cells=3, nodes=1, operations=PAPER_OPERATIONS)
    size = topology.smallest_image()
    supernet = make_supernet(3, 1, PAPER_OPERATIONS, size=size)
    assert np.isfinite(supernet(np.ones((2, size, size, 3), "float32"), training=False)).all()


def test_fresh_masks_are_transparent(make_supernet, images, monkeypatch):
    """The masked supernet is the supernet in which masks do not exist at all."""
    supernet = make_supernet(2, 1)
    for variable in supernet.architecture_parameters:
        variable.assign(np.random.default_rng(1).standard_normal(variable.shape))
    masked = supernet(images, training=False).numpy()
    for encoding in supernet.encodings:
        alpha, beta = map(np.asarray, encoding.importances())
        np.testing.assert_array_equal(encoding.mixing_weights(), alpha * beta[:, None])
    called = []

    def ones(real_mask, threshold):
        called.append(threshold)
        return keras.ops.ones(real_mask.shape)

    for module in ("masked_kernel", "multi_level_encoding"):
        monkeypatch.setattr(f"hmnas_tf.layers.{module}.binarize", ones)
    np.testing.assert_array_equal(supernet(images, training=False), masked)
    assert len(called) == len(supernet.real_masks)


def test_masks_change_the_function(make_supernet, images):
    """What the transparency above would not see if masks were ignored."""
    supernet = make_supernet(1, 1)
    before = supernet(images, training=False).numpy()
    for mask in (supernet.architecture_masks[0], supernet.architecture_masks[1], supernet.weight_masks[0]):
        fresh = mask.numpy()
        changed = fresh.copy()
        changed.flat[: changed.size // 2] = 0.0
        assert not np.all(binarize(changed, 5e-3))
        mask.assign(changed)
        assert np.any(supernet(images, training=False).numpy() != before)
        mask.assign(fresh)
    np.testing.assert_array_equal(supernet(images, training=False), before)


def test_cells_of_a_group_share_their_architecture(make_supernet, images):
    """Of three cells the last two are reductions: the first has a group of its own."""
    supernet = make_supernet(3, 1, cell_sharing="type")
    assert supernet.groups == (0, 1, 1)
    assert make_supernet(3, 1, cell_sharing="cell").groups == (0, 1, 2)
    weights = [encoding.mixing_weights() for encoding in supernet.encodings]
    stem = supernet.stems[0](images)
    zero = supernet.cells[0](stem, stem, weights[0])
    one = supernet.cells[1](stem, zero, weights[1])
    two = supernet.cells[2](zero, one, weights[1])
    expected = supernet.classifier(np.mean(two, axis=(1, 2)))
    np.testing.assert_allclose(supernet(images), expected, rtol=1e-4, atol=1e-6)


def test_gradients_reach_every_trainable_variable(make_supernet, images):
    supernet = make_supernet(nodes=1)
    for variable in supernet.architecture_parameters:
        variable.assign(np.random.default_rng(1).standard_normal(variable.shape))
    variables = [variable.value for variable in supernet.trainable_variables]
    with tf.GradientTape() as tape:
        logits = supernet(images, training=True)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits([0, 1, 2, 3], logits))
    for variable, gradient in zip(supernet.trainable_variables, tape.gradient(loss, variables), strict=True):
        assert gradient is not None, variable.path
        assert np.any(tf.convert_to_tensor(gradient) != 0), variable.path


def test_mixed_precision_keeps_variables_and_logits_in_float32(images):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        topology = Topology(initial_channels=4, cells=1, nodes=1, operations=("sep_conv_3x3", "identity"))
        supernet = Supernet(topology, 5)
        supernet.build((None, 8, 8, 3))
        logits = supernet(images, training=True)
        weights = supernet.encodings[0].mixing_weights()
    finally:
        keras.config.set_dtype_policy("float32")
    assert {variable.dtype for variable in supernet.variables} == {"float32"}
    assert logits.dtype == weights.dtype == tf.float32
    assert supernet.cells[0].compute_dtype == "bfloat16"


def test_thresholds_reach_every_mask(make_supernet):
    supernet = make_supernet(threshold=1e-3)
    assert {layer.threshold for layer in [*supernet.masked_convolutions, *supernet.encodings]} == {1e-3}
