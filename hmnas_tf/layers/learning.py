"""What a graph is not differentiated in, so that layers need not prepare for it.

TensorFlow leaves out gradients that nobody asks for, but not those inside functions that stay functions
(`fused.built_once`), nor what only they would need.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

WEIGHTS, MASKS = "weights", "masks"  # of the network, but not its architecture parameters; all real masks
_fixed: contextvars.ContextVar[frozenset[str]] = contextvars.ContextVar("fixed", default=frozenset())


@contextlib.contextmanager
def fixed(*groups: str) -> Iterator[None]:
    """Promises that what is built inside is not differentiated in `WEIGHTS`, or in `MASKS`."""
    token = _fixed.set(_fixed.get() | set(groups))
    try:
        yield
    finally:
        _fixed.reset(token)


def is_fixed(group: str) -> bool:
    """Returns whether a group is fixed here."""
    return group in _fixed.get()
