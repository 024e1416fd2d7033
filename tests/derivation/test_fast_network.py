"""The network that is trained computes what its stock layers compute, with their variables."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.derivation.evaluation_network import evaluation_network
from hmnas_tf.derivation.fast_network import fast_network
from hmnas_tf.derivation.training_network import training_network
from hmnas_tf.layers.stock import channels
from hmnas_tf.networks.handmade import mobilenet, resnet8
from hmnas_tf.settings.paper import PAPER_OPERATIONS
from hmnas_tf.space.genotype import CellGene, EdgeGene, Genotype, OperationGene
from hmnas_tf.space.topology import Topology

EVERYTHING = (*PAPER_OPERATIONS, "conv_1x1", "conv_3x3", "mbconv_3x3", "mbconv_5x5")


@pytest.fixture(scope="module")
def genotype() -> Genotype:
    """One node a cell, every operation on both of its edges, in a normal and two reduction cells."""
    topology = Topology(initial_channels=4, cells=3, nodes=1, operations=EVERYTHING, stem="cifar")
    own = tuple(OperationGene(name, 0.1 + 0.05 * number) for number, name in enumerate(EVERYTHING))
    cell = CellGene((tuple(EdgeGene(source, 0.4, own) for source in range(2)),))
    return Genotype(topology, (cell,) * 3)


def made(kind: str, genotype: Genotype, size: int) -> keras.Model:
    """Returns a network whose variables, averages included, have values of their own."""
    keras.utils.set_random_seed(0)
    hand = {"resnet8": resnet8, "mobilenet": mobilenet}
    shape = (size, size, 3)
    network = hand[kind](4, shape, 5) if kind in hand else evaluation_network(genotype, 5, shape)
    random = np.random.default_rng(1)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights(random.uniform(0.5, 1.5, (4, *layer.gamma.shape)))
    return network


def images(size: int) -> np.ndarray:
    return np.random.default_rng(2).standard_normal((6, size, size, 3)).astype("float32")


def trained_on(model: keras.Model, x: np.ndarray, variables: list) -> tuple[np.ndarray, list[np.ndarray]]:
    """Returns the logits of a batch in training mode, and the gradients in variables."""
    with tf.GradientTape() as tape:
        logits = model(x, training=True)
        loss = tf.reduce_mean(logits**2)
    return logits.numpy(), [np.asarray(found) for found in tape.gradient(loss, [v.value for v in variables])]


@pytest.mark.parametrize(("kind", "size"), [("cells", 8), ("cells", 9), ("resnet8", 8), ("mobilenet", 9)])
def test_results_gradients_and_averages_are_those_of_the_stock_layers(genotype, kind, size, difference):
    network = made(kind, genotype, size)
    fast = fast_network(network)
    assert [id(v) for v in fast.trainable_variables] == [id(v) for v in network.trainable_variables]
    assert {id(v) for v in fast.variables} == {id(v) for v in network.variables}
    x, start = images(size), network.get_weights()
    assert difference(fast(x), network(x).numpy()) < 1e-5

    logits, gradients = trained_on(network, x, network.trainable_variables)
    averages = network.get_weights()
    network.set_weights(start)
    own, own_gradients = trained_on(fast, x, network.trainable_variables)
    assert difference(own, logits) < 1e-5
    for variable, a, b in zip(network.trainable_variables, own_gradients, gradients, strict=True):
        # Rounding decides the gradient of a pixel near a ReLU's 0.
        assert np.linalg.norm(a - b) <= 1e-3 * max(np.linalg.norm(b), 1e-2), variable.path
    moved = 0
    for variable, a, b, before in zip(network.weights, network.get_weights(), averages, start, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6, err_msg=variable.path)
        moved += (b != before).any()
    assert moved == len(network.non_trainable_variables)


def test_what_is_the_same_for_several_operations_is_computed_once(genotype):
    network = made("cells", genotype, 8)
    count = {
        which: sum(isinstance(layer, keras.layers.ReLU) for layer in model.layers)
        for which, model in (("stock", network), ("fast", fast_network(network)))
    }
    sources = 3 * 2  # nodes that operations read
    relus = sum("conv" in name and not name.startswith("mbconv") for name in EVERYTHING)  # of a source
    assert count["fast"] <= count["stock"] - (relus - 1) * sources


def test_crops_are_slices_without_strides_and_those_of_one_tensor_are_one(difference):
    x = keras.Input((8, 9, 6))
    crop = ((1, 0), (2, 1))
    crops = [keras.layers.Cropping2D(crop, data_format="channels_last", name=name)(x) for name in ("a", "b")]
    network = keras.Model(x, [*crops, channels(x, 1, 4, "c")])
    fast = fast_network(network)
    assert len(fast.layers) == len(network.layers) - 1
    values = tf.constant(np.random.default_rng(0).standard_normal((3, 8, 9, 6)), tf.float32)

    def results(model: keras.Model) -> list:
        with tf.GradientTape() as tape:
            tape.watch(values)
            made = model(values, training=True)
            loss = tf.add_n([tf.reduce_sum(y**2) for y in made])
        return [*made, tape.gradient(loss, values)]

    for own, stock in zip(results(fast), results(network), strict=True):
        assert own.shape == stock.shape
        assert difference(own, stock.numpy()) < 1e-6
    graphs = [
        tf.function(lambda model=model: results(model)).get_concrete_function().graph
        for model in (network, fast)
    ]
    slow = [sum(node.type == "StridedSliceGrad" for node in graph.get_operations()) for graph in graphs]
    assert slow[0] > slow[1] == 0


def test_the_graph_of_a_step_has_about_half_of_the_nodes(genotype):
    network, x = made("cells", genotype, 8), images(8)

    def nodes(model: keras.Model) -> int:
        step = tf.function(lambda x: trained(model, x), autograph=False)
        return len(step.get_concrete_function(x).graph.as_graph_def().node)

    def trained(model: keras.Model, x: tf.Tensor) -> list:
        values = [variable.value for variable in network.trainable_variables]
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model(x, training=True))
        return tape.gradient(loss, values)

    assert nodes(fast_network(network)) < 0.55 * nodes(network)


def test_drop_path_and_auxiliary_head_fit_on_it(genotype, difference):
    network = made("cells", genotype, 32)
    x = images(32)
    settings = dict(drop_path=True, auxiliary=False)
    stock = training_network(network, genotype, **settings)
    fast = training_network(fast_network(network), genotype, **settings)
    gates = np.random.default_rng(3).integers(0, 2, (len(x), stock.inputs[1].shape[1])).astype("float32")
    assert difference(fast([x, gates]), stock([x, gates]).numpy()) < 1e-5
    assert difference(fast([x, np.ones_like(gates)]), fast([x, gates]).numpy()) > 1e-3


def test_in_mixed_precision_it_computes_what_the_stock_layers_do(genotype, difference):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = made("cells", genotype, 8)
        fast = fast_network(network)
    finally:
        keras.config.set_dtype_policy("float32")
    x = images(8)
    for training in (False, True):
        start = network.get_weights()
        own = fast(x, training=training)
        network.set_weights(start)
        assert own.dtype == "float32"
        assert difference(own, network(x, training=training).numpy()) < 0.05
        network.set_weights(start)
