"""What each rule keeps of a supernet."""

from __future__ import annotations

import numpy as np
import pytest

from hmnas_tf.derivation.derive import derive
from hmnas_tf.derivation.rules import RULES, genotype_of, weight_density
from hmnas_tf.space.genotype import Genotype
from hmnas_tf.space.topology import cell_edges, edges_from

OPERATIONS = ("none", "sep_conv_3x3", "avg_pool_3x3", "identity")
HAND_RULES = ["top2", "random"]


@pytest.fixture(scope="module")
def supernet(make_supernet, randomise):
    return randomise(make_supernet(3, 4, OPERATIONS), density=0.5, of_weights=0.5)


def rows_into(node: int, nodes: int = 4) -> list[int]:
    return [row for row, edge in enumerate(cell_edges(nodes)) if edge.target == node]


@pytest.mark.parametrize("rule", sorted(RULES))
def test_every_rule_gives_a_genotype_that_survives_json_and_can_be_built(rule, supernet, images):
    genotype = genotype_of(supernet, rule, 1)
    assert Genotype.from_json(genotype.to_json()) == genotype
    assert genotype_of(supernet, rule, 1) == genotype
    logits = derive(supernet, genotype, (8, 8, 3))(images(8), training=False)
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("seed", range(3))
def test_masks_keeps_the_living_gates_with_their_importances(seed, make_supernet, randomise):
    supernet = randomise(make_supernet(3, 3, OPERATIONS), seed=seed, density=0.5)
    genotype = genotype_of(supernet, "masks")
    for index, cell in enumerate(genotype.cells):
        encoding = supernet.encodings[supernet.groups[index]]
        gates, (alpha, beta) = np.asarray(encoding.gates()), map(np.asarray, encoding.importances())
        kept = np.zeros_like(gates)
        for edge, gene in cell.edges():
            row = cell_edges(3).index(edge)
            assert gene.beta == pytest.approx(float(beta[row]))
            for operation in gene.operations:
                column = OPERATIONS.index(operation.name)
                kept[row, column] = 1
                assert operation.alpha == pytest.approx(float(alpha[row, column]))
        np.testing.assert_array_equal(kept, gates)


def test_density_is_the_share_of_an_operations_weights_that_are_not_masked(make_supernet):
    """8 channels, 2 edges from input 0: a separable unit has 72 + 64 weights, an operation two units."""
    supernet = make_supernet(1, 2, OPERATIONS)
    first = supernet.cells[0].mixed[0].candidates[1].first
    mask = first.pointwise.real_mask.numpy()
    mask[1, :2] = 0.0  # of the second edge, 0 -> 3: 2 of 8 input channels, 16 weights
    first.pointwise.real_mask.assign(mask)
    second = edges_from(2)[0][1]
    assert cell_edges(2)[second] == (0, 3)
    assert weight_density(supernet, 0, second, 1) == pytest.approx(1 - 16 / (2 * (72 + 64)))
    assert weight_density(supernet, 0, edges_from(2)[0][0], 1) == 1.0
    assert weight_density(supernet, 0, second, 2) == 1.0  # a pool has no weights
    (gene,) = [gene for edge, gene in genotype_of(supernet, "masks").cells[0].edges() if edge == (0, 3)]
    assert [operation.density < 1 for operation in gene.operations] == [False, True, False, False]


@pytest.mark.parametrize("rule", HAND_RULES)
@pytest.mark.parametrize("seed", range(5))
def test_hand_rules_keep_two_inputs_a_node_and_one_operation_an_edge(rule, seed, supernet):
    genotype = genotype_of(supernet, rule, seed)
    for cell in genotype.cells:
        for n, edges in enumerate(cell.nodes):
            sources = [edge.source for edge in edges]
            assert len(sources) == 2
            assert sources == sorted(set(sources))
            assert all(source < 2 + n for source in sources)
            assert all(len(edge.operations) == 1 and edge.beta == 1.0 for edge in edges)
            assert all(edge.operations[0].name != "none" for edge in edges)
            assert all(edge.operations[0].alpha == edge.operations[0].density == 1.0 for edge in edges)
    assert genotype.cells[1] == genotype.cells[2]  # one group


@pytest.mark.parametrize("softmax", ["node", "dag"])
@pytest.mark.parametrize("seed", range(4))
def test_top2_is_darts_rule(seed, softmax, make_supernet):
    """Per node the two edges whose best operation is strongest, and that operation; masks have no say."""
    supernet = make_supernet(1, 4, OPERATIONS, edge_softmax=softmax)
    random, encoding = np.random.default_rng(seed), supernet.encodings[0]
    for variable in encoding.architecture_parameters:
        variable.assign(random.standard_normal(variable.shape))
    encoding.alpha.assign(encoding.alpha + np.array([2.0, 0, 0, 0]))  # `none` is strongest nearly everywhere
    encoding.edge_mask.assign(np.zeros(14))
    powers = np.exp(encoding.alpha.numpy().astype(float))
    alpha, beta = powers / powers.sum(1, keepdims=True), encoding.beta.numpy().astype(float)
    (cell,) = genotype_of(supernet, "top2").cells
    for n, edges in enumerate(cell.nodes):
        rows = rows_into(2 + n)
        best = {row: max(range(1, 4), key=lambda o, row=row: alpha[row, o]) for row in rows}
        ranked = sorted(rows, key=lambda row: -alpha[row, best[row]] * np.exp(beta[row]))[:2]
        expected = sorted((cell_edges(4)[row].source, OPERATIONS[best[row]]) for row in ranked)
        assert [(edge.source, edge.operations[0].name) for edge in edges] == expected


def test_top2_breaks_ties_towards_the_lower_index(make_supernet):
    supernet = make_supernet(1, 4, OPERATIONS)
    for variable in supernet.architecture_parameters:
        variable.assign(np.zeros(variable.shape))
    (cell,) = genotype_of(supernet, "top2").cells
    for edges in cell.nodes:
        assert [(edge.source, edge.operations[0].name) for edge in edges] == [
            (0, "sep_conv_3x3"),
            (1, "sep_conv_3x3"),
        ]
    alpha = np.zeros((14, 4))
    alpha[rows_into(5)[-1], 3] = 1.0  # one edge into the last node stands out, the others stay equal
    supernet.encodings[0].alpha.assign(alpha)
    (cell,) = genotype_of(supernet, "top2").cells
    assert [(edge.source, edge.operations[0].name) for edge in cell.nodes[3]] == [
        (0, "sep_conv_3x3"),
        (4, "identity"),
    ]


def test_random_is_seeded_and_reaches_everything(supernet):
    drawn = [genotype_of(supernet, "random", seed) for seed in range(40)]
    assert genotype_of(supernet, "random", 7) == drawn[7]
    assert len({str(genotype) for genotype in drawn}) == 40
    last = [
        (edge.source, edge.operations[0].name) for genotype in drawn for edge in genotype.cells[0].nodes[3]
    ]
    assert {source for source, _ in last} == set(range(5))
    assert {name for _, name in last} == set(OPERATIONS) - {"none"}


def test_architecture_of_weight_one_has_no_scaling_layers(supernet):
    network = derive(supernet, genotype_of(supernet, "top2"), (8, 8, 3))
    assert not [layer.name for layer in network.layers if layer.name.endswith("_weight")]


def test_unknown_rule_is_not_silently_another(supernet):
    with pytest.raises(KeyError, match="best"):
        genotype_of(supernet, "best")
