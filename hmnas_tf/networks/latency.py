"""Milliseconds of what the masks leave of a supernet, from a table of small networks that were timed.

An operation of a source costs its first edge's milliseconds once and a further edge's for each of the others: pools,
ReLUs and what brings a tensor into the runtime's layout are shared then. Each is measured at a few numbers of channels
and linear in between. With the stem and the preprocessings the sum is the time of a network, but for what a runtime
saves or loses where parts meet: a factor, so that the whole supernet takes what it takes. A network that counts is
measured itself.

The paper has no budget; all of this is a DECISION.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from keras import ops

from hmnas_tf.layers.cell import Cell
from hmnas_tf.networks.cost import Cost, Masks, any_of
from hmnas_tf.networks.latency_parts import (
    COPIES,
    Part,
    ends,
    operation_parts,
    preprocess_parts,
    stem_parts,
    whole_key,
    widths,
)
from hmnas_tf.networks.supernet import Supernet
from hmnas_tf.space.topology import INPUTS, edges_from

Table = Mapping[str, float]  # milliseconds by `Part.key`


class Latency(Cost):
    """The milliseconds of what binary masks leave of a supernet, on one image and one thread.

    Args:
        supernet: built, with width masks.
        table: of `parts_of` it, and of the whole.
        num_classes: of the classifier in the end; its time goes with the stem's.
        multiple: of which the exported network has all its numbers of channels.
    """

    def __init__(self, supernet: Supernet, table: Table, num_classes: int | None = None, multiple: int = 1):
        super().__init__(supernet, num_classes)
        self._table = table
        self.multiple = multiple
        # [widths] of the first stem and, where there is one, of the second
        self._stems = np.reshape(
            [table[part.key] for part in stem_parts(supernet, multiple)],
            [len(widths(most, multiple)) for most in supernet.topology.stem_channels],
        )
        self._cells = [self._of_sources(cell) for cell in supernet.cells]
        self._reads = [[self._of_reads(cell, source) for source in range(INPUTS)] for cell in supernet.cells]
        # What parts take together is not what each takes alone: one factor for all, from the whole supernet.
        parts = self.parts(_nothing_masked(supernet))
        added, stems = float(sum(parts.cells())), float(parts.stem)
        factor = (table[whole_key(supernet)] - stems) / added if added > 0 else 1.0
        self._cells = [[factor * times for times in cell] for cell in self._cells]
        self._reads = [[factor * times for times in cell] for cell in self._reads]

    def _of_sources(self, cell: Cell) -> list[np.ndarray]:
        """Returns of each source of a cell the milliseconds [first or further, operations, widths]."""
        found = []
        for mixed in cell.mixed:
            one, several = (
                [
                    [self._net(part) for part in operation_parts(mixed, name, copies, self.multiple)]
                    for name in mixed.operations
                ]
                for copies in (1, COPIES)
            )
            first, whole = np.array(one), np.array(several)
            found.append(np.stack([first, np.maximum(whole - first, 0.0) / (COPIES - 1)]))
        return found

    def _of_reads(self, cell: Cell, source: int) -> np.ndarray:
        """Returns the milliseconds of a preprocessing, [channels read, channels made]."""
        return np.array(
            [[self._net(part) for part in row] for row in preprocess_parts(cell, source, self.multiple)]
        )

    def _net(self, part: Part) -> float:
        """Returns the milliseconds of a part alone."""
        return max(self._table[part.key] - self._table[part.nothing.key], 0.0)

    def _exported(self, most: float, count: Any) -> Any:
        """Returns how many channels there are in the exported file; what it costs to have one more is as before."""
        padded = ops.minimum(ops.ceil(count / self.multiple) * self.multiple, most)
        return count + ops.stop_gradient(padded - count)

    def _of_stems(self, counts: Sequence[Any]) -> Any:
        times = ops.cast(self._stems, counts[0].dtype)
        for count, most in zip(reversed(counts), reversed(self.supernet.topology.stem_channels), strict=True):
            times = ops.sum(times * interpolation(count, widths(most, self.multiple)), axis=-1)
        return times

    def _of_classifier(self, read: Any) -> Any:
        return 0.0 * read

    def _of_operations(self, index: int, gates: Any, count: Any) -> Any:
        cell = self.supernet.cells[index]
        at = interpolation(count, widths(cell.channels, self.multiple))
        total = 0.0
        for times, rows in zip(self._cells[index], edges_from(cell.nodes), strict=True):
            own = ops.take(gates, np.array(rows), axis=0)
            first, further = (ops.sum(ops.cast(part, gates.dtype) * at, axis=-1) for part in times)
            once = any_of(own)
            total = total + first * once + further * (ops.sum(own, axis=0) - once)
        return total

    def _of_preprocess(self, index: int, source: int, count: Any, read: Any) -> Any:
        cell = self.supernet.cells[index]
        of_read = interpolation(
            ops.cast(read, count.dtype), ends(cell.input_shapes[source][-1], self.multiple)
        )
        of_count = interpolation(count, ends(cell.channels, self.multiple))
        times = ops.cast(self._reads[index][source], of_count.dtype)
        return ops.sum(times * ops.expand_dims(of_read, 1) * of_count)


def _nothing_masked(supernet: Supernet) -> Masks:
    return Masks(
        [ops.ones(encoding.operation_mask.shape, "float64") for encoding in supernet.encodings],
        [ops.ones(encoding.edge_mask.shape, "float64") for encoding in supernet.encodings],
        [ops.ones(mask.shape, "float64") for mask in supernet.width_masks],
    )


def interpolation(value: Any, points: tuple[int, ...]) -> Any:
    """Returns the weights of points for linear interpolation at a value; outside them the outermost lines go on.

    >>> np.asarray(interpolation(np.float64(5), (2, 8, 16))).tolist()
    [0.5, 0.5, 0.0]
    """
    if len(points) == 1:
        return ops.ones((1,), value.dtype)
    last = len(points) - 2
    passed = []  # of each interval, the part that lies below the value
    for number, (low, high) in enumerate(itertools.pairwise(points)):
        share = (value - low) / (high - low)
        share = share if number == 0 else ops.maximum(share, 0.0)
        passed.append(share if number == last else ops.minimum(share, 1.0))
    passed = [ops.ones_like(passed[0]), *passed, ops.zeros_like(passed[0])]
    return ops.stack([one - next_one for one, next_one in itertools.pairwise(passed)])
