"""Sizes and costs against numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from hmnas_tf.derivation.derive import derive
from hmnas_tf.derivation.rules import genotype_of
from hmnas_tf.layers.operations import OPERATIONS
from hmnas_tf.networks import counting
from hmnas_tf.networks.supernet import Supernet
from hmnas_tf.settings.paper import PAPER_OPERATIONS
from hmnas_tf.space.topology import Topology


def test_parameters_and_nonzero_parameters():
    kernel = keras.Variable(np.array([[0.0, 1.0, -2.0], [0.0, 0.0, 0.5]]))
    bias = keras.Variable(np.zeros(4))
    assert counting.parameters([kernel, bias]) == 10
    assert counting.nonzero_parameters([kernel, bias]) == 3 + 4


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_an_operation_without_parameters_has_no_variable_to_train_when_it_is_built(name):
    operation = OPERATIONS[name](4)
    operation.build((None, 8, 8, 4))
    assert counting.parameterless([name]) == (not operation.trainable_variables,)


def test_pools_and_identity_of_the_paper_have_no_parameters():
    assert counting.parameterless(PAPER_OPERATIONS) == (False,) * 4 + (True,) * 3


def test_multiply_adds_of_single_layers():
    assert counting.multiply_adds((3, 3, 4, 8), 25) == 9 * 4 * 8 * 25
    image = keras.Input((8, 6, 3))
    x = keras.layers.Conv2D(5, 3, strides=2, padding="same", use_bias=False)(image)  # 4 x 3 positions
    x = keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dense(7)(keras.layers.GlobalAveragePooling2D()(x))
    network = keras.Model(image, x)
    assert counting.network_multiply_adds(network) == 9 * 3 * 5 * 12 + 9 * 5 * 12 + 5 * 7


@pytest.mark.parametrize(
    ("classes", "parameters", "multiply_adds"),
    [(100, 2_681_056, 298_422_528), (1000, 3_027_556, 298_768_128)],
)
def test_the_papers_imagenet_supernet_is_as_docs_say(classes, parameters, multiply_adds):
    """Smaller than the paper's cut network of 3.6 M parameters and 482 M multiply-adds: see docs/results.md."""
    topology = Topology(initial_channels=24, cells=5, nodes=4, operations=PAPER_OPERATIONS, stem="imagenet")
    supernet = Supernet(topology, classes)
    supernet.build((None, 224, 224, 3))
    assert counting.parameters(supernet.network_weights) == parameters
    assert counting.supernet_multiply_adds(supernet) == multiply_adds
    text = (Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8")
    assert f"{parameters:,} | | {multiply_adds:,} |" in text


def test_multiply_adds_of_a_small_supernet_by_hand(make_supernet):
    """One reduction cell of one node, so 8 channels, on 8x8 images: two edges of a dilated 3x3."""
    supernet = make_supernet(1, 1, ("dil_conv_3x3",))
    stem, preprocess = 27 * 12 * 64, 2 * 12 * 8 * 64
    edges = 2 * (9 * 8 + 8 * 8) * 16
    assert counting.supernet_multiply_adds(supernet) == stem + preprocess + edges + 8 * 5


@pytest.mark.parametrize(
    ("cells", "nodes", "stem", "size"), [(1, 2, "cifar", 8), (2, 1, "cifar", 9), (1, 1, "imagenet", 32)]
)
def test_network_with_everything_alive_costs_what_the_supernet_costs(cells, nodes, stem, size, make_supernet):
    supernet = make_supernet(cells, nodes, PAPER_OPERATIONS, stem, size)
    network = derive(supernet, genotype_of(supernet, "masks"), (size, size, 3))
    assert counting.network_multiply_adds(network) == counting.supernet_multiply_adds(supernet)
    kernels = [variable for variable in network.trainable_variables if variable.name == "kernel"]
    own = [variable for variable in supernet.network_weights if variable.name == "kernel"]
    assert counting.parameters(kernels) == counting.parameters(own)
