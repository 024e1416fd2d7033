"""Milliseconds of a network are those of its parts, and a mask's price is what goes with it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.derivation.fold import fold
from hmnas_tf.derivation.pad import pad
from hmnas_tf.derivation.rules import genotype_of
from hmnas_tf.networks.cost import Masks
from hmnas_tf.networks.latency import Latency, interpolation
from hmnas_tf.networks.latency_parts import COPIES, NOTHING, STEM, parts_of, whole_key
from hmnas_tf.space.topology import INPUTS

FACTOR = 1.5  # of a whole network to its parts
OPERATIONS = ("sep_conv_3x3", "max_pool_3x3", "identity")


SUPERNETS = (
    dict(cells=3),
    dict(cells=2, stem="imagenet", size=64, channels=10),
    dict(cells=3, reduce_in="preprocessing"),
    dict(cells=3, reduce_in="pooling"),
)


@pytest.fixture(scope="module", params=SUPERNETS, ids=str)
def supernet(request, make_supernet):
    return make_supernet(operations=OPERATIONS, width_masks=True, **request.param)


def table_of(supernet, multiple: int = 1) -> dict[str, float]:
    """Times that tell every part from every other, with twice as long for further copies as for the first."""
    found = {}
    for key in parts_of(supernet, multiple):
        what, size, strides, channels, copies = key.split()
        read, *between, made = (int(number) for number in channels.split(">"))
        own = 0.0 if what == NOTHING else 1.0 + len(what)
        each = own * (read + 10 * made) * int(size.split("x")[0]) / int(strides[1:])
        if what == STEM:
            each = math.prod(between)
        found[key] = 5.0 + each * (1 + 2 * (int(copies[1:]) - 1))
    draw(supernet, 0, 1.0)
    found[whole_key(supernet)] = expected(supernet, found, multiple)
    return found


def draw(supernet, seed: int, share: float) -> None:
    random = np.random.default_rng(seed)
    for mask in (*supernet.architecture_masks, *supernet.width_masks):
        mask.assign(np.where(random.random(mask.shape) < share, 1e-2, 0.0))


def expected(supernet, table: dict[str, float], multiple: int = 1) -> float:
    """The sum over what the derived architecture has, told from its genes; times here are linear in channels."""
    genotype = genotype_of(supernet, "masks")
    plans, most = genotype.topology.plans, genotype.topology.stem_channels

    def exported(channels: int, most: int) -> int:
        return min(-(-channels // multiple) * multiple, most)

    made = [exported(*pair) for pair in zip(genotype.stem_channels, most, strict=True)]
    stem = total = 5.0 + math.prod(made)
    outputs = {-2: made[0], -1: made[-1]}
    for index, gene in enumerate(genotype.cells):
        channels = exported(genotype.channels(index), plans[index].channels)
        outputs[index] = channels * len(gene.living_nodes())
        if index not in genotype.needed_cells():
            continue
        cell = supernet.cells[index]
        for source in range(INPUTS):
            if gene.uses(source):
                reduces = type(cell.preprocess[source]).__name__ == "FactorizedReduce"
                what = "factorized_reduce" if reduces else "preprocess"
                strides = plans[index].preprocessing_strides(source)
                size = cell.input_shapes[source][1]
                total += (1 + len(what)) * (outputs[index - INPUTS + source] + 10 * channels) * size / strides
        times = {}
        for position in gene.living_nodes():
            for edge in gene.nodes[position]:
                for operation in edge.operations:
                    key = edge.source, operation.name
                    times[key] = times.get(key, 0) + 1
        for (source, name), edges in times.items():
            mixed = cell.mixed[source]
            each = (1 + len(name)) * 11 * channels * mixed.pixels[0] / mixed.strides
            total += each * (1 + 2 * (edges - 1))
    return stem + FACTOR * (total - stem)


@pytest.mark.parametrize("multiple", [1, 4])
@pytest.mark.parametrize("share", [1.0, 0.7, 0.4, 0.0])
def test_the_milliseconds_are_those_of_what_the_genes_have(supernet, share, multiple):
    table = table_of(supernet, multiple)
    draw(supernet, 3, share)
    found = float(Latency(supernet, table, multiple=multiple)(Masks.of(supernet).exact()))
    assert found == pytest.approx(expected(supernet, table, multiple), rel=1e-9)


def test_an_operations_derivative_is_what_goes_without_it(supernet):
    cost, seen = Latency(supernet, table_of(supernet)), 0
    draw(supernet, 5, 0.8)
    masks = Masks.of(supernet).exact()
    with tf.GradientTape() as tape:
        tape.watch(masks.operations)
        whole = cost(masks)
    prices = tape.gradient(whole, list(masks.operations))
    for group, mask in enumerate(masks.operations):
        for place in np.argwhere(np.asarray(mask) == 1):
            fewer = [np.array(part) for part in masks.operations]
            fewer[group][tuple(place)] = 0.0
            gone = float(whole) - float(
                cost(Masks([tf.constant(f) for f in fewer], masks.edges, masks.widths))
            )
            assert float(prices[group][tuple(place)]) == pytest.approx(gone, abs=1e-6)
            seen += 1
    assert seen > 5


def test_a_channel_more_costs_nothing_up_to_the_next_multiple(make_supernet):
    supernet = make_supernet(operations=OPERATIONS, width_masks=True, channels=16)
    cost = Latency(supernet, table_of(supernet, 4), multiple=4)
    draw(supernet, 0, 1.0)
    found = []
    for kept in range(2, 17):
        supernet.width_masks[0].assign(np.where(np.arange(16) < kept, 1e-2, 0.0))
        found.append(float(cost(Masks.of(supernet).exact())))
    steps = [number for number, grown in zip(range(3, 17), np.diff(found), strict=True) if grown > 0]
    assert steps == [5, 9, 13]


@pytest.mark.parametrize(
    ("value", "points"), [(5.0, (2, 8, 16)), (1.0, (4, 8)), (20.0, (2, 8, 16)), (7.0, (6,))]
)
def test_interpolation_goes_through_the_points_and_on_outside(value, points):
    def line(x):
        return 3.0 * x + 2.0

    weights = np.asarray(interpolation(tf.constant(value, tf.float64), points))
    wanted = line(value) if len(points) > 1 else line(points[0])
    assert weights @ [line(point) for point in points] == pytest.approx(wanted)
    for number, point in enumerate(points):
        at = np.asarray(interpolation(tf.constant(float(point), tf.float64), points))
        assert at.tolist() == [float(i == number) for i in range(len(points))]


@pytest.mark.parametrize("multiple", [1, 4])
def test_every_part_can_be_built_folded_and_padded(make_supernet, multiple):
    supernet = make_supernet(operations=OPERATIONS, width_masks=True, channels=6)
    parts = parts_of(supernet, multiple)
    assert {key.split()[0] for key in parts} == {
        *OPERATIONS,
        NOTHING,
        STEM,
        "preprocess",
        "factorized_reduce",
    }
    assert {key.split()[-1] for key in parts} == {"x1", f"x{COPIES}"}
    for key, build in parts.items():
        exported = pad(fold(build()), multiple)
        assert exported.output_shape == (None, 5 if key.startswith(STEM) else 2)
