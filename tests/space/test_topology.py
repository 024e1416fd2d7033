"""Edges, cells and stacks of cells against their definitions."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from hmnas_tf.space.topology import (
    INPUTS,
    STEMS,
    Edge,
    Topology,
    cell_edges,
    edges_from,
    edges_into,
    sharing_groups,
)

NODES = [1, 2, 3, 4, 5, 8]


def topology(cells: int, stem: str = "cifar", channels: int = 4) -> Topology:
    return Topology(initial_channels=channels, cells=cells, nodes=2, operations=("identity",), stem=stem)


def test_four_nodes_have_fourteen_edges_target_by_target():
    expected = [(0, 2), (1, 2), (0, 3), (1, 3), (2, 3), (0, 4), (1, 4), (2, 4), (3, 4)]
    expected += [(0, 5), (1, 5), (2, 5), (3, 5), (4, 5)]
    assert cell_edges(4) == tuple(Edge(*pair) for pair in expected)
    assert len(cell_edges(4)) == 14


@pytest.mark.parametrize("nodes", NODES)
def test_every_node_is_connected_to_all_before_it_once(nodes):
    pairs = {(s, t) for s, t in itertools.product(range(INPUTS + nodes), repeat=2) if s < t and t >= INPUTS}
    assert set(cell_edges(nodes)) == pairs
    assert len(cell_edges(nodes)) == len(pairs) == nodes * (nodes + 3) // 2


@pytest.mark.parametrize("nodes", NODES)
def test_incoming_slices_partition_the_edges_by_target(nodes):
    edges, slices = cell_edges(nodes), edges_into(nodes)
    assert len(slices) == nodes
    for n, part in enumerate(slices):
        assert [edge.target for edge in edges[part]] == [INPUTS + n] * (INPUTS + n)
        assert [edge.source for edge in edges[part]] == list(range(INPUTS + n))
    assert [row for part in slices for row in range(part.start, part.stop)] == list(range(len(edges)))


@pytest.mark.parametrize("nodes", NODES)
def test_outgoing_rows_partition_the_edges_by_source(nodes):
    edges, rows = cell_edges(nodes), edges_from(nodes)
    assert len(rows) == INPUTS + nodes - 1  # nothing leaves the last node
    for source, own in enumerate(rows):
        assert [edges[row].source for row in own] == [source] * len(own)
        assert [edges[row].target for row in own] == list(range(max(source + 1, INPUTS), INPUTS + nodes))
    assert sorted(itertools.chain(*rows)) == list(range(len(edges)))


@pytest.mark.parametrize(
    ("cells", "reductions"),
    [(1, {0}), (2, {0, 1}), (3, {1, 2}), (5, {1, 3}), (6, {2, 4}), (8, {2, 5}), (14, {4, 9}), (20, {6, 13})],
)
def test_reductions_stand_at_one_and_two_thirds_and_double_the_channels(cells, reductions):
    plans = topology(cells, channels=6).plans
    assert topology(cells).reductions == reductions
    assert [plan.index for plan in plans] == list(range(cells))
    assert {plan.index for plan in plans if plan.reduction} == reductions
    assert [plan.channels for plan in plans] == [
        6 * 2 ** sum(r <= index for r in reductions) for index in range(cells)
    ]
    assert [plan.previous_reduction for plan in plans] == [index - 1 in reductions for index in range(cells)]


def test_imagenet_stem_counts_as_a_reduction_for_the_first_cell_only():
    before = [plan.previous_reduction for plan in topology(5, stem="imagenet").plans]
    assert before == [True, False, True, False, True]
    assert [plan.channels for plan in topology(5, stem="imagenet", channels=24).plans] == [24, 48, 48, 96, 96]


def test_only_edges_from_the_inputs_of_a_reduction_cell_have_stride_2():
    normal, reduction = topology(3).plans[:2]
    assert [normal.strides(source) for source in range(6)] == [1] * 6
    assert [reduction.strides(source) for source in range(6)] == [2, 2, 1, 1, 1, 1]


def test_preprocessing_halves_what_the_cell_before_did_or_all_it_can():
    def strides(reduce_in: str) -> list[tuple[list[int], list[int]]]:
        """Of each cell those of the preprocessing of its inputs, and of the edges from them and from its first node."""
        plans = dataclasses.replace(topology(4), reduce_in=reduce_in).plans
        return [
            ([plan.preprocessing_strides(i) for i in (0, 1)], [plan.strides(i) for i in (0, 1, 2)])
            for plan in plans
        ]

    normal, after = ([1, 1], [1, 1, 1]), ([2, 1], [1, 1, 1])
    assert strides("operations") == [normal, ([1, 1], [2, 2, 1]), ([2, 1], [2, 2, 1]), after]
    assert strides("preprocessing") == [normal, ([2, 2], [1, 1, 1]), ([2, 2], [2, 1, 1]), after]
    assert strides("pooling") == strides("preprocessing")


def test_what_halves_is_one_of_three():
    with pytest.raises(ValueError, match="reduce_in='stem' is unknown.*operations, pooling, preprocessing"):
        dataclasses.replace(topology(3), reduce_in="stem")


def test_sharing_groups():
    plans = topology(5).plans
    assert sharing_groups(plans, "all") == (0, 0, 0, 0, 0)
    assert sharing_groups(plans, "cell") == (0, 1, 2, 3, 4)
    assert sharing_groups(plans, "type") == (0, 1, 0, 1, 0)
    assert sharing_groups(topology(2).plans, "type") == (0, 0)  # only reductions: still counted from 0


@pytest.mark.parametrize(
    ("cells", "stem", "pixels"),
    [
        (1, "cifar", 2),
        (2, "cifar", 4),
        (3, "cifar", 4),
        (20, "cifar", 4),
        (1, "imagenet", 16),
        (5, "imagenet", 32),
    ],
)
def test_smallest_image_leaves_two_pixels_before_the_last_reduction(cells, stem, pixels):
    assert topology(cells, stem).smallest_image() == pixels

    def before_last_reduction(size: int) -> float:
        return size / STEMS[stem].divides / 2 ** (len(topology(cells).reductions) - 1)

    assert before_last_reduction(pixels) == 2


def test_channels_that_cannot_be_split_are_refused_with_those_that_can():
    with pytest.raises(ValueError, match="initial_channels=6 .*partial_channels=2 .*a multiple of 4"):
        dataclasses.replace(topology(3, channels=6), partial_channels=2)
    assert dataclasses.replace(topology(3, channels=8), partial_channels=4).plans[-1].channels == 32


def test_unknown_stem_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="stem='mnist' is unknown.*cifar, imagenet, narrow"):
        topology(3, stem="mnist")
