"""How much of an operation on an edge a training graph computes, if its mask is known to stay 0 for a while.

An operation whose gate is 0 adds exactly 0 to its node, and no gradient comes back through it. Only its mixing weight
has a gradient, which can bring it back (paper §3.3). So one that rests is computed forward only, and one that is gone
for good is not computed at all; neither changes a number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops, tree

GONE, RESTING, ACTIVE = range(3)
Activity = tuple[int, ...]  # one a parallel edge of a layer


def activity_of(column: np.ndarray) -> Activity:
    """Returns the activity of the edges of one operation as layers hold it."""
    return tuple(int(value) for value in column)


def rested(tensors: Any) -> Any:
    """Returns tensors, nested, cut off from what they were computed from."""
    return tree.map_structure(ops.stop_gradient, tensors)
