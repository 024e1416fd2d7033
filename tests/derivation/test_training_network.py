"""Drop path takes away what an edge contributes and nothing else; the auxiliary head stands where DARTS has it."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from hmnas_tf.derivation.evaluation_network import evaluation_network
from hmnas_tf.derivation.rules import genotype_of
from hmnas_tf.derivation.training_network import training_network
from hmnas_tf.layers import fused
from hmnas_tf.space.genotype import CellGene, EdgeGene, Genotype, OperationGene


def gene(source: int, *names: str) -> EdgeGene:
    return EdgeGene(source, 0.5, tuple(OperationGene(name, 0.5) for name in names))


@pytest.fixture(scope="module")
def genotype(make_supernet) -> Genotype:
    """Five edges a cell; those that are an identity of stride 1 alone have no gate."""
    normal = CellGene(
        ((gene(0, "identity"), gene(1, "sep_conv_3x3", "identity")), (gene(2, "max_pool_3x3"),))
    )
    reduction = CellGene(
        ((gene(0, "identity"), gene(1, "dil_conv_3x3", "max_pool_3x3")), (gene(2, "identity"),))
    )
    return Genotype(make_supernet().topology, (normal, reduction, reduction))


@pytest.fixture(scope="module")
def network(genotype) -> keras.Model:
    network = evaluation_network(genotype, 5, (32, 32, 3))
    random = np.random.default_rng(0)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.gamma.shape
            layer.set_weights(
                [random.uniform(0.5, 1.5, shape), *random.standard_normal((2, *shape)), np.ones(shape)]
            )
    return network


GATES = [  # the layers that the gates of the genotype stand behind, one list an edge
    ["cell0_edge1_2_sep_conv_3x3"],
    ["cell0_edge2_3_max_pool_3x3"],
    ["cell1_edge0_2_identity"],
    ["cell1_edge1_2_dil_conv_3x3", "cell1_edge1_2_max_pool_3x3"],
    ["cell2_edge0_2_identity"],
    ["cell2_edge1_2_dil_conv_3x3", "cell2_edge1_2_max_pool_3x3"],
]


def batch(size: int = 32) -> np.ndarray:
    return np.random.default_rng(3).standard_normal((4, size, size, 3), np.float32)


def test_all_gates_open_it_is_the_network_whose_layers_it_shares(network, genotype, difference):
    trained = training_network(network, genotype, drop_path=True, auxiliary=False)
    assert trained.inputs[1].shape == (None, len(GATES))
    logits = trained([batch(), np.ones((4, len(GATES)), np.float32)])
    assert difference(logits, network(batch())) < 1e-6
    assert {id(v) for v in trained.variables} == {id(v) for v in network.variables}


@pytest.mark.parametrize("closed", range(len(GATES)))
def test_a_closed_gate_removes_its_edge_for_its_image_alone(closed, network, genotype, difference):
    trained = training_network(network, genotype, drop_path=True, auxiliary=False)
    gates = np.ones((4, len(GATES)), np.float32)
    gates[1, closed] = 0.0
    logits = trained([batch(), gates])
    whole = np.asarray(network(batch()))
    norms = [
        layer
        for layer in network.layers
        if any(layer.name.startswith(place) for place in GATES[closed])
        and layer.name.endswith(("2_bn", "identity_bn", "dil_conv_3x3_bn", "pool_3x3_bn"))
    ]
    before = [layer.get_weights() for layer in norms]
    assert len(norms) == len(GATES[closed])
    for layer in norms:  # gamma = beta = 0: the term is 0
        gamma, beta, *statistics = layer.get_weights()
        layer.set_weights([0 * gamma, 0 * beta, *statistics])
    without = np.asarray(network(batch()))
    for layer, weights in zip(norms, before, strict=True):
        layer.set_weights(weights)
    assert difference(without, whole) > 1e-3
    expected = whole.copy()
    expected[1] = without[1]
    assert difference(logits, expected) < 1e-5


def test_without_drop_path_the_gates_have_no_effect(network, genotype, difference):
    trained = training_network(network, genotype, drop_path=False, auxiliary=True)
    logits, auxiliary = trained([batch(), np.zeros((4, 1), np.float32)])
    assert difference(logits, network(batch())) < 1e-6
    assert auxiliary.shape == (4, 5)


def test_the_auxiliary_head_reads_cell_two_thirds_and_is_darts(network, genotype):
    trained = training_network(network, genotype, drop_path=False, auxiliary=True)
    own = {layer.name: layer for layer in trained.layers if layer.name.startswith("auxiliary")}
    read = own["auxiliary_relu"].input
    assert read.shape[1:3] == (8, 8)  # cell 2 of 3
    assert own["auxiliary_pool"].output.shape[1:3] == (2, 2)
    assert own["auxiliary_pool"].strides == (3, 3)
    channels = read.shape[-1]
    expected = channels * 128 + 2 * 128 + 4 * 128 * 768 + 2 * 768 + 768 * 5 + 5
    assert sum(np.prod(v.shape) for layer in own.values() for v in layer.trainable_variables) == expected


@pytest.mark.parametrize("replicas", [1, 2])
def test_the_auxiliary_heads_statistics_are_those_of_all_replicas(network, genotype, monkeypatch, replicas):
    monkeypatch.setattr(fused, "replicas", lambda: replicas)
    trained = training_network(network, genotype, drop_path=False, auxiliary=True)
    norms = [trained.get_layer(f"auxiliary_bn_{number}") for number in (1, 2)]
    assert [norm.synchronized for norm in norms] == [replicas > 1] * 2


def test_the_auxiliary_head_reads_earlier_cells_only(make_supernet):
    supernet = make_supernet(cells=4, size=16)
    genotype = genotype_of(supernet, "random", 3)
    network = evaluation_network(genotype, 5, (48, 48, 3))
    trained = training_network(network, genotype, drop_path=False, auxiliary=True)
    before = np.asarray(trained([batch(48), np.ones((4, 1))])[1])
    for layer in network.layers:
        if layer.name.startswith(("cell3", "logits")):
            layer.set_weights([np.zeros_like(w) for w in layer.get_weights()])
    logits, after = trained([batch(48), np.ones((4, 1))])
    assert np.abs(logits).max() == 0.0
    assert (np.asarray(after) == before).all()


def test_feature_maps_too_small_for_the_head_are_refused(make_supernet):
    supernet = make_supernet()
    genotype = genotype_of(supernet, "random", 0)
    network = evaluation_network(genotype, 5, (24, 24, 3))
    with pytest.raises(ValueError, match="auxiliary_weight.*needs feature maps of 7 pixels, but has 6"):
        training_network(network, genotype, drop_path=False, auxiliary=True)
    larger = evaluation_network(genotype, 5, (28, 28, 3))
    trained = training_network(larger, genotype, drop_path=False, auxiliary=True)
    assert trained.get_layer("auxiliary_pool").output.shape[1:3] == (2, 2)
    assert trained.get_layer("auxiliary_pool").strides == (2, 2)
