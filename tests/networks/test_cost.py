"""The cost of masks is the count of the derived network, and its derivative what a mask costs."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.derivation.derive import derive
from hmnas_tf.derivation.rules import genotype_of
from hmnas_tf.networks import counting
from hmnas_tf.networks.cost import Masks
from hmnas_tf.networks.count import MEASURES, Count
from hmnas_tf.networks.supernet import Supernet
from hmnas_tf.space.topology import INPUTS, Topology, cell_edges

FEW = ("sep_conv_3x3", "dil_conv_5x5", "max_pool_3x3", "identity")
SPACES = {
    "4 cells, odd sizes": dict(cells=4, nodes=2, operations=FEW[::3]),
    "1 cell": dict(cells=1, nodes=3, operations=(*FEW[::2], "none"), stem="narrow"),
    "written by hand": dict(
        cells=2, nodes=2, operations=("conv_1x1", "conv_3x3", "mbconv_3x3"), reduce_in="preprocessing"
    ),
    "pooled": dict(cells=4, nodes=1, operations=("mbconv_5x5", "identity"), reduce_in="pooling"),
    "imagenet": dict(cells=2, nodes=1, operations=FEW[::3], stem="imagenet"),
}
KEYS = {"parameters": "params", "multiply_adds": "flops"}


@pytest.fixture(scope="module", params=SPACES)
def supernet(request) -> Supernet:
    made = Supernet(
        Topology(initial_channels=4, **{"stem": "cifar"} | SPACES[request.param]),
        5,
        cell_sharing="type" if request.param == "imagenet" else "cell",
        width_masks=True,
    )
    made.build((None, 33, 33, 3) if request.param == "imagenet" else (None, 9, 9, 3))
    return made


def draw(supernet: Supernet, seed: int, share: float) -> None:
    random = np.random.default_rng(seed)
    for mask in (*supernet.architecture_masks, *supernet.width_masks):
        mask.assign(np.where(random.random(mask.shape) < share, 1e-2, 0.0))


def exact(supernet: Supernet) -> Masks:
    return Masks.of(supernet).exact()


def derived(supernet: Supernet) -> keras.Model:
    shape = (33, 33, 3) if supernet.topology.stem == "imagenet" else (9, 9, 3)
    return derive(supernet, genotype_of(supernet, "masks"), shape)


def counted(supernet: Supernet) -> dict[str, int]:
    return counting.size_of(derived(supernet))


@pytest.mark.parametrize("share", [1.0, 0.7, 0.4, 0.15, 0.0])
def test_the_cost_is_the_count_of_the_derived_network(supernet, share):
    draw(supernet, 3, share)
    size = counted(supernet)
    for name, key in KEYS.items():
        assert float(Count(supernet, name)(exact(supernet))) == size[key]
        assert float(Count(supernet, name)(Masks.of(supernet))) == pytest.approx(size[key], rel=1e-6)
    assert set(KEYS) == set(MEASURES)


def test_operations_cost_what_they_have_on_all_edges(supernet):
    draw(supernet, 3, 0.8)
    cost = Count(supernet, "parameters")
    parts = cost.parts(exact(supernet))
    assert float(sum(parts.cells()) + parts.stem + parts.classifier) == counted(supernet)["params"]
    names = list(supernet.topology.operations)
    model = derived(supernet)
    for index, own in enumerate(parts.operations):
        for name, of_operation in zip(names, np.array(own), strict=True):
            layers = [layer for layer in model.layers if layer.name.startswith(f"cell{index}_edge")]
            own_layers = [layer for layer in layers if f"_{name}_" in layer.name]
            assert of_operation == sum(counting.parameters(own.trainable_weights) for own in own_layers)


@pytest.mark.parametrize("name", MEASURES)
def test_the_derivative_is_what_a_mask_costs(supernet, name):
    draw(supernet, 5, 0.7)
    cost, masks = Count(supernet, name), exact(supernet)
    values = masks.flat()
    with tf.GradientTape() as tape:
        tape.watch(values)
        total = cost(masks)
    gradients = tape.gradient(total, values, unconnected_gradients="zero")
    groups, checked = len(supernet.encodings), 0
    for number, (value, gradient) in enumerate(zip(values, gradients, strict=True)):
        if number >= 2 * groups:
            break
        for place in np.ndindex(*value.shape):
            on, off = (np.array(value) for _ in range(2))
            on[place], off[place] = 1.0, 0.0
            pair, paths = [], []
            for changed in (on, off):
                own = [*values[:number], tf.constant(changed), *values[number + 1 :]]
                pair.append(float(cost(Masks(own[:groups], own[groups : 2 * groups], own[2 * groups :]))))
                paths.append(has_paths(own, groups, supernet.topology.nodes))
            if all(paths):
                assert float(gradient[place]) == pytest.approx(pair[0] - pair[1])
                checked += 1
    assert checked >= 5


def has_paths(values: list, groups: int, nodes: int) -> bool:
    """Whether masks leave every cell a path, so that none is kept against them."""
    for of_operations, of_edges in zip(values[:groups], values[groups : 2 * groups], strict=True):
        on = np.array(of_operations).max(axis=1) * np.array(of_edges)
        first = [row for row, edge in enumerate(cell_edges(nodes)) if edge.source < INPUTS]
        if not on[first].any():
            return False
    return True


def test_a_channel_costs_what_its_cell_loses(supernet):
    """Its derivative counts a square as twice what one of its factors costs: 2n instead of 2n - 1."""
    draw(supernet, 6, 0.8)
    cost, masks = Count(supernet, "parameters"), exact(supernet)
    with tf.GradientTape() as tape:
        tape.watch(masks.widths)
        total = cost(masks)
    last = tape.gradient(total, masks.widths)[-1]
    widths = [*masks.widths[:-1], tf.concat([masks.widths[-1], [1.0]], 0)]
    more = float(cost(Masks(masks.operations, masks.edges, widths))) - float(total)
    assert float(last[0]) <= more <= 1.5 * float(last[0])
