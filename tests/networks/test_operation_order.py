"""The order of operations that is found is one that can be done, and none needs less memory."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from hmnas_tf.networks import operation_order
from hmnas_tf.networks.operation_order import Operation, best_order


def peak_of(operations, sizes, kept, positions):
    """Returns the peak of one order, None if it cannot be done; written without a thought of speed."""
    made = {operation.output for operation in operations}
    there = set(range(len(sizes))) - made
    peak = 0
    for number, position in enumerate(positions):
        operation = operations[position]
        if not set(operation.inputs) <= there:
            return None
        there.add(operation.output)
        needed = {tensor for later in positions[number:] for tensor in operations[later].inputs} | set(kept)
        peak = max(peak, sum(sizes[tensor] for tensor in there & (needed | {operation.output})))
    return peak


def graph_of(seed):
    """Draws a graph of one input, six operations that read one to three tensors before them, and its loose ends."""
    random = np.random.default_rng(seed)
    operations = [
        Operation(tuple(random.choice(n, min(n, random.integers(1, 4)), replace=False)), n)
        for n in range(1, 7)
    ]
    read = {tensor for operation in operations for tensor in operation.inputs}
    return operations, random.integers(1, 20, 7).tolist(), [n for n in range(1, 7) if n not in read]


@pytest.mark.parametrize("most_states", [operation_order.MOST_STATES, 0])
def test_no_order_needs_less(most_states, monkeypatch):
    """Against all orders of graphs of six operations; without the exact search nothing is claimed that is not so."""
    monkeypatch.setattr(operation_order, "MOST_STATES", most_states)
    gains = set()
    for seed in range(60):
        operations, sizes, kept = graph_of(seed)
        peaks = [peak_of(operations, sizes, kept, order) for order in itertools.permutations(range(6))]
        possible = [peak for peak in peaks if peak is not None]
        found = best_order(operations, sizes, kept)
        assert sorted(found.operations) == list(range(6))
        assert found.peak == peak_of(operations, sizes, kept, found.operations)
        if found.is_least:
            assert found.peak == min(possible)
        assert found.is_least or not most_states
        gains.add(max(possible) - found.peak)
    assert max(gains) > 10


def test_branches_are_finished_one_after_the_other():
    """Two branches widen and narrow: side by side they need 1 + 8 + 8, one after the other 2 + 8 + 2."""
    one, other = ([Operation((0,), first), Operation((first,), first + 1)] for first in (1, 3))
    beside = [one[0], other[0], one[1], other[1], Operation((2, 4), 5)]
    found = best_order(beside, [1, 8, 2, 8, 2, 1], [5])
    assert found.peak == 2 + 8 + 2
    assert found.operations in ((0, 2, 1, 3, 4), (1, 3, 0, 2, 4))
    assert found.is_least


def test_ends_and_what_nobody_reads():
    assert best_order([], [7], [0]) == ((), 7, True)
    assert best_order([Operation((0,), 1), Operation((0,), 2)], [5, 3, 2], [2]).peak == 5 + 3
    assert best_order([Operation((0,), 1), Operation((0,), 2)], [5, 3, 2], [1, 2]).peak == 5 + 3 + 2
    assert best_order([Operation((0, 0), 1)], [4, 4], [1]).peak == 8


def test_a_wrong_order_is_refused():
    with pytest.raises(ValueError, match="number 0 reads what number 1 makes"):
        best_order([Operation((2,), 1), Operation((0,), 2)], [1, 1, 1])
