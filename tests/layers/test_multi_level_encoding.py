"""Importances against Eqs. 1 and 2, and living gates against a graph search that shares no code with them."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.layers import multi_level_encoding as encoding
from hmnas_tf.layers.multi_level_encoding import MultiLevelEncoding

TAU = 5e-3


def edges_of(nodes: int) -> list[tuple[int, int]]:
    return [(source, target) for target in range(2, 2 + nodes) for source in range(target)]


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def edge_softmax(beta: np.ndarray, nodes: int, mode: str) -> np.ndarray:
    if mode == "dag":
        return softmax(beta)
    if mode == "none":
        return np.ones_like(beta)
    result = np.zeros_like(beta)
    for node in range(2, 2 + nodes):
        rows = [row for row, (_, target) in enumerate(edges_of(nodes)) if target == node]
        result[rows] = softmax(beta[rows])
    return result


def search(
    operation_mask: np.ndarray, edge_mask: np.ndarray, importance: np.ndarray, nodes: int
) -> np.ndarray:
    """Returns the gates that a walk from the two inputs passes, or the strongest path from an input."""
    edges = edges_of(nodes)
    on = (operation_mask * edge_mask[:, None]) > 0

    def reached() -> set[int]:
        seen, front = {0, 1}, [0, 1]
        while front:
            node = front.pop()
            for row, (source, target) in enumerate(edges):
                if source == node and target not in seen and on[row].any():
                    seen.add(target)
                    front.append(target)
        return seen

    if reached() == {0, 1}:
        paths = [
            (-importance[row, o], row, o)
            for row, (source, _) in enumerate(edges)
            if source < 2
            for o in range(importance.shape[1])
        ]
        _, row, o = min(paths)
        on[row, o] = True
    seen = reached()
    return np.array([on[row] * (source in seen) for row, (source, _) in enumerate(edges)], float)


def random_case(seed: int, nodes: int, density: float, operations: int = 3):
    random = np.random.default_rng(seed)
    count = len(edges_of(nodes))
    operation_mask = (random.random((count, operations)) < density).astype("float32")
    edge_mask = (random.random(count) < density).astype("float32")
    return operation_mask, edge_mask, random.random((count, operations)).astype("float32")


@pytest.mark.parametrize("nodes", [1, 2, 4])
@pytest.mark.parametrize("density", [1.0, 0.8, 0.5, 0.3, 0.1, 0.0])
def test_gates_are_what_a_graph_search_finds(nodes, density):
    gates = tf.function(lambda *values: encoding.living_gates(*values, nodes))
    for seed in range(40):
        case = random_case(seed, nodes, density)
        np.testing.assert_array_equal(
            gates(*map(tf.constant, case)), search(*case, nodes), err_msg=f"seed {seed}"
        )


@pytest.mark.parametrize("best", [(0, 2), (3, 0), (6, 1)])
def test_rescue_keeps_the_strongest_path_from_an_input_alone(best):
    """Rows 4, 7 and 8 leave intermediate nodes: however strong, they are no path."""
    _, _, importance = random_case(0, 3, 0.0)
    importance[[4, 7, 8]] += 10
    importance[best] = 2.0
    expected = np.zeros((9, 3))
    expected[best] = 1.0
    zeros = np.zeros((9, 3), "float32"), np.zeros(9, "float32")
    np.testing.assert_array_equal(encoding.living_gates(*zeros, importance, 3), expected)
    no_edges = np.ones((9, 3), "float32"), np.zeros(9, "float32")
    np.testing.assert_array_equal(encoding.living_gates(*no_edges, importance, 3), expected)


def test_rescue_breaks_ties_towards_the_lower_index_and_is_silent_when_anything_lives():
    zeros, ones = np.zeros((5, 3), "float32"), np.ones((5, 3), "float32")
    gates = np.asarray(encoding.living_gates(zeros, np.ones(5, "float32"), ones, 2))
    assert gates[0, 0] == 1
    assert gates.sum() == 1
    one = zeros.copy()
    one[3, 2] = 1  # edge 1 -> 3
    np.testing.assert_array_equal(encoding.living_gates(one, np.ones(5, "float32"), ones, 2), one)


def test_dead_sources_take_their_outgoing_edges_with_them_through_chains():
    """Node 2 dies; node 3 lives on 2 alone, so it dies too, and with it 3 -> 4; node 4 has its own inputs."""
    edges = edges_of(3)
    operation_mask = np.ones((9, 3), "float32")
    edge_mask = np.array([pair not in {(0, 2), (1, 2), (0, 3), (1, 3)} for pair in edges], "float32")
    gates = np.asarray(encoding.living_gates(operation_mask, edge_mask, operation_mask, 3))
    assert {pair for pair, row in zip(edges, gates, strict=True) if row.any()} == {(0, 4), (1, 4)}


def test_gradients_pass_to_both_masks_where_the_source_lives():
    """For an operation outer * M_e, for an edge the sum of outer * M_o, 0 behind a dead node."""
    edges, dead = edges_of(3), 0
    for seed in range(20):
        operation_mask, edge_mask, importance = random_case(seed, 3, 0.5)
        edge_mask[0] = operation_mask[0, 0] = 1.0  # node 2 lives: nothing to rescue
        edge_mask[2:4] *= seed % 2  # node 3 lives on node 2 alone, or not at all
        outer = np.random.default_rng(seed + 100).standard_normal(operation_mask.shape).astype("float32")
        variables = tf.Variable(operation_mask), tf.Variable(edge_mask)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(outer * encoding.living_gates(*variables, importance, 3))
        of_operations, of_edges = tape.gradient(loss, variables)
        living = search(operation_mask, edge_mask, importance, 3).any(1)
        alive = {0, 1} | {target for (_, target), lives in zip(edges, living, strict=True) if lives}
        source = np.array([float(pair[0] in alive) for pair in edges])
        dead += int((source == 0).sum())
        np.testing.assert_allclose(of_operations, outer * (edge_mask * source)[:, None], atol=1e-6)
        np.testing.assert_allclose(of_edges, (outer * operation_mask).sum(1) * source, atol=1e-5)
    assert dead


def spread(
    nodes: int = 3, operations: int = 4, seed: int = 0, density: float = 0.6, **kwargs
) -> MultiLevelEncoding:
    """An encoding with importances far from uniform and random masks."""
    layer, random = MultiLevelEncoding(nodes, operations, **kwargs), np.random.default_rng(seed)
    for variable in layer.architecture_parameters:
        variable.assign(random.standard_normal(variable.shape))
    for variable in layer.real_masks:
        variable.assign(np.where(random.random(variable.shape) < density, 1e-2, -1e-2))
    return layer


@pytest.mark.parametrize("mode", sorted(encoding.EDGE_SOFTMAXES))
@pytest.mark.parametrize("nodes", [1, 4])
def test_importances_are_the_softmaxes_of_equations_1_and_2(nodes, mode):
    layer = spread(nodes, edge_softmax=mode)
    of_operations, of_edges = layer.importances()
    np.testing.assert_allclose(of_operations, softmax(layer.alpha.numpy()), rtol=1e-5)
    np.testing.assert_allclose(of_edges, edge_softmax(layer.beta.numpy(), nodes, mode), rtol=1e-5)
    total = {"dag": 1.0, "node": nodes, "none": len(edges_of(nodes))}[mode]
    assert np.sum(of_edges) == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("mode", sorted(encoding.EDGE_SOFTMAXES))
@pytest.mark.parametrize("density", [1.0, 0.6, 0.1, 0.0])
def test_mixing_weights_are_gated_after_the_softmax(density, mode):
    layer = spread(edge_softmax=mode, density=density)
    alpha, beta = softmax(layer.alpha.numpy()), edge_softmax(layer.beta.numpy(), 3, mode)
    importance = alpha * beta[:, None]
    masks = [(mask.numpy() > TAU).astype(float) for mask in layer.real_masks]
    gates = search(*masks, importance, 3)
    np.testing.assert_array_equal(layer.gates(), gates)
    np.testing.assert_allclose(layer.mixing_weights(), importance * gates, rtol=1e-5)
    surviving = layer.surviving_importances()
    np.testing.assert_array_equal(surviving[0], gates)
    np.testing.assert_allclose(surviving[1], alpha, rtol=1e-5)
    np.testing.assert_allclose(surviving[2], beta, rtol=1e-5)


@pytest.mark.parametrize("mode", sorted(encoding.EDGE_SOFTMAXES))
@pytest.mark.parametrize("density", [1.0, 0.6, 0.3, 0.0])
def test_renormalized_weights_of_the_survivors_sum_to_one(density, mode):
    layer = spread(edge_softmax=mode, density=density, renormalize=True)
    gates, alpha, _ = map(np.asarray, layer.surviving_importances())
    weights, living = np.asarray(layer.mixing_weights()), gates.any(1)
    np.testing.assert_allclose((alpha * gates).sum(1)[living], 1.0, rtol=1e-5)
    sums = weights.sum(1)
    if mode == "dag":
        assert sums.sum() == pytest.approx(1.0, rel=1e-5)
    for node in range(2, 5):
        rows = [row for row, (_, target) in enumerate(edges_of(3)) if target == node]
        if mode == "node" and living[rows].any():
            assert sums[rows].sum() == pytest.approx(1.0, rel=1e-5)
    if mode == "none":
        np.testing.assert_allclose(sums[living], 1.0, rtol=1e-5)
    assert np.all(np.isfinite(weights))
    assert np.all(weights[gates == 0] == 0)
    plain = softmax(layer.alpha.numpy())  # ratios between survivors stay
    for row in np.flatnonzero(living):
        on = gates[row] > 0
        np.testing.assert_allclose(
            alpha[row, on] / alpha[row, on][0], plain[row, on] / plain[row, on][0], rtol=1e-4
        )


@pytest.mark.parametrize("renormalize", [False, True])
@pytest.mark.parametrize("density", [1.0, 0.6, 0.1, 0.0])
def test_what_passes_an_edge_by_weighs_as_the_edge_while_an_operation_of_it_lives(density, renormalize):
    layer = spread(density=density, renormalize=renormalize, bypass=True)
    gates, _, of_edges = map(np.asarray, layer.surviving_importances())
    weights = np.asarray(layer.mixing_weights())
    layer.bypass = False
    np.testing.assert_array_equal(weights[:, :-1], layer.mixing_weights())
    np.testing.assert_array_equal(weights[:, -1], of_edges * gates.any(1))


def test_gradients_of_what_passes_by_reach_the_edge_alone():
    """d/dM_e = importance, whether the edge lives or not; d/dbeta by differences; nothing for operations."""
    layer = spread(density=0.6, seed=2, bypass=True)
    gates = np.asarray(layer.gates()).any(1)
    assert set(gates) == {False, True}
    outer = np.random.default_rng(5).standard_normal(gates.shape)
    variables = [variable.value for variable in layer.real_masks + layer.architecture_parameters]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(outer.astype("float32") * layer.mixing_weights()[:, -1])
    of_operations, of_edge_mask, of_alpha, of_beta = tape.gradient(
        loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    beta = layer.beta.numpy().astype(float)
    np.testing.assert_allclose(of_edge_mask, outer * edge_softmax(beta, 3, "node"), rtol=1e-5)
    assert not np.any(of_operations)
    assert not np.any(of_alpha)

    def loss_at(beta: np.ndarray) -> float:
        return float((outer * edge_softmax(beta, 3, "node") * gates).sum())

    for edge, step in enumerate(1e-5 * np.eye(len(beta))):
        difference = (loss_at(beta + step) - loss_at(beta - step)) / 2e-5
        assert float(of_beta[edge]) == pytest.approx(difference, rel=1e-3, abs=1e-6)


def test_gradients_of_mixing_weights_reach_masks_and_parameters():
    """d/dM_o = alpha * beta * M_e and d/dM_e = sum_o alpha * beta * M_o, also for masks that are 0."""
    layer = spread(density=0.8, seed=1)
    gates = np.asarray(layer.gates())
    of_operations, of_edges = (mask.numpy() > TAU for mask in layer.real_masks)
    assert np.array_equal(gates, of_operations * of_edges[:, None])  # all sources live: the formula is simple
    assert not of_operations.all()
    assert not of_edges.all()
    outer = np.random.default_rng(5).standard_normal(gates.shape).astype("float32")
    variables = [variable.value for variable in layer.real_masks + layer.architecture_parameters]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(outer * layer.mixing_weights())
    gradients = [np.asarray(gradient) for gradient in tape.gradient(loss, variables)]
    alpha, beta = (np.asarray(value) for value in layer.importances())
    product = outer * alpha * beta[:, None]
    np.testing.assert_allclose(gradients[0], product * of_edges[:, None], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(gradients[1], (product * of_operations).sum(1), rtol=1e-4, atol=1e-6)
    assert np.any(gradients[0][~of_operations] != 0)
    assert np.any(gradients[1][~of_edges] != 0)
    assert all(np.any(gradient != 0) for gradient in gradients[2:])


def test_fresh_encoding_is_nearly_uniform_and_lets_everything_through():
    layer = MultiLevelEncoding(4, 7)
    assert [tuple(variable.shape) for variable in layer.architecture_parameters] == [(14, 7), (14,)]
    assert [tuple(variable.shape) for variable in layer.real_masks] == [(14, 7), (14,)]
    assert 0.5e-3 < layer.alpha.numpy().std() < 2e-3
    assert np.all(np.asarray(layer.gates()) == 1)
    expected = np.array([1 / target for _, target in edges_of(4)])[:, None] / 7
    np.testing.assert_allclose(layer.mixing_weights(), np.tile(expected, 7), rtol=2e-2)


def test_a_single_operation_has_importance_one_and_nobody_is_warned():
    layer = MultiLevelEncoding(2, 1)
    with tf.GradientTape() as tape:
        of_operations, of_edges = layer.importances()
        loss = tf.reduce_sum(of_operations * of_edges[:, None] * np.arange(5.0, dtype="float32")[:, None])
    np.testing.assert_array_equal(of_operations, np.ones((5, 1)))
    gradients = tape.gradient(loss, [layer.alpha.value, layer.beta.value])
    assert not np.any(gradients[0])
    assert np.any(gradients[1])


def test_unknown_edge_softmax_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="edge_softmax='cell': choose one of dag, node, none"):
        MultiLevelEncoding(4, 7, edge_softmax="cell")
