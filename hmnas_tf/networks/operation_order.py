"""In which order the operations of a graph are done with the least memory."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

MOST_STATES = 500  # that the exact search looks at; behind it stands the one that follows `BEAM` of them
BEAM = 16


class Operation(NamedTuple):
    """What reads tensors, by their numbers, and makes one, for which it needs a place of its own."""

    inputs: tuple[int, ...]
    output: int


class Order(NamedTuple):
    """Positions of operations in the order in which they are done, the most memory in use, and whether less is proven
    to be impossible; memory is in the unit of the tensors' sizes."""

    operations: tuple[int, ...]
    peak: int
    is_least: bool


class _State(NamedTuple):
    """What has been done and can be done next, a bit an operation; the memory of what is needed, now and so far."""

    done: int
    ready: int
    live: int
    peak: int
    last: tuple | None  # (position, the same of the state before)


def best_order(operations: Sequence[Operation], sizes: Sequence[int], kept: Iterable[int] = ()) -> Order:
    """Returns the order of operations with the smallest peak of memory.

    A tensor is in memory from the operation that makes it, or from the start if none does, to the last that reads it.
    An operation needs its inputs and its output at once. (Liberis and Lane, arXiv:1910.05110.)

    States, sets of what has been done, are looked at in the order of their peaks, and of those with the same peak the
    one that is furthest; the first that is at the end is the best. An operation that leaves no more behind than it
    takes away, and needs no more on its way than was needed before, is done at once: done later, it could only keep
    memory. Where there are too many states, only the most promising are followed.

    Args:
        operations: in an order in which they can be done.
        sizes: of all tensors.
        kept: tensors that are needed in the end.

    Raises:
        ValueError: if the operations cannot be done in the order given.
    """
    graph = _Graph(operations, sizes, kept)
    start = graph.settled(graph.start)
    waiting = [(start.peak, 0, 0, start)]
    peaks, number = {start.done: start.peak}, 0
    for _ in range(MOST_STATES):
        *_, state = heapq.heappop(waiting)
        if state.done == graph.all:
            return _finished(state, True)
        for following in map(graph.settled, graph.following(state)):
            if following.peak < peaks.get(following.done, math.inf):
                peaks[following.done] = following.peak
                number += 1
                heapq.heappush(waiting, (following.peak, -following.done.bit_count(), number, following))
    found = graph.along_a_beam(start)
    return _finished(found, found.peak == waiting[0][0])  # whatever is still waiting has at least this peak


def _finished(state: _State, is_least: bool) -> Order:
    positions, last = [], state.last
    while last is not None:
        position, last = last
        positions.append(position)
    return Order(tuple(reversed(positions)), state.peak, is_least)


class _Graph:
    """Who reads what, as bits."""

    def __init__(self, operations: Sequence[Operation], sizes: Sequence[int], kept: Iterable[int]):
        self._sizes = sizes
        self._inputs = [tuple(dict.fromkeys(operation.inputs)) for operation in operations]
        self._outputs = [operation.output for operation in operations]
        self._readers = [0] * len(sizes)
        made_by = {output: position for position, output in enumerate(self._outputs)}
        self._before = []
        self._behind: list[list[int]] = [[] for _ in operations]
        for position, inputs in enumerate(self._inputs):
            sources = [made_by[tensor] for tensor in inputs if tensor in made_by]
            if any(source >= position for source in sources):
                raise ValueError(
                    f"expected operations in an order in which they can be done, but number {position} reads what "
                    f"number {max(sources)} makes"
                )
            for tensor in inputs:
                self._readers[tensor] |= 1 << position
            for source in sources:
                self._behind[source].append(position)
            self._before.append(sum(1 << source for source in sources))
        self.all = (1 << len(operations)) - 1
        for tensor in kept:
            self._readers[tensor] |= 1 << len(operations)  # one that is never done
        given = set(range(len(sizes))) - set(made_by)
        live = sum(sizes[tensor] for tensor in given if self._readers[tensor])
        ready = sum(1 << position for position, before in enumerate(self._before) if not before)
        self.start = _State(0, ready, live, live, None)

    def following(self, state: _State) -> Iterator[_State]:
        """Yields the states after each operation that can be done."""
        ready = state.ready
        while ready:
            position = (ready & -ready).bit_length() - 1
            ready &= ready - 1
            yield self._after(state, position)

    def _after(self, state: _State, position: int) -> _State:
        done, output = state.done | 1 << position, self._outputs[position]
        ready = state.ready & ~(1 << position)
        for behind in self._behind[position]:
            if self._before[behind] & done == self._before[behind]:
                ready |= 1 << behind
        during = state.live + self._sizes[output]
        freed = sum(self._sizes[t] for t in self._inputs[position] if not self._readers[t] & ~done)
        if not self._readers[output]:
            freed += self._sizes[output]
        return _State(done, ready, during - freed, max(state.peak, during), (position, state.last))

    def settled(self, state: _State) -> _State:
        """Returns the state after all operations that cost nothing to do at once."""
        while True:
            for following in self.following(state):
                if following.peak == state.peak and following.live <= state.live:
                    state = following
                    break
            else:
                return state

    def along_a_beam(self, state: _State) -> _State:
        """Returns the best end that is reached by always following only the states of the least memory."""
        best, beam = None, [state]
        while beam:
            by_done: dict[int, _State] = {}
            for following in (self.settled(other) for one in beam for other in self.following(one)):
                if best is not None and following.peak >= best.peak:
                    continue
                if following.done == self.all:
                    best = following
                elif following.done not in by_done or following.peak < by_done[following.done].peak:
                    by_done[following.done] = following
            beam = sorted(by_done.values(), key=lambda one: (one.peak, one.live))[:BEAM]
        return best
