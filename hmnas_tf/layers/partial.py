"""Partial channel connections: operations see some of a node's channels, the others pass by.

That is PC-DARTS' way to spend less memory and time on a search (arXiv:1907.05737).

With K = `partial_channels` an operation reads the first C / K channels of its source and makes as many. The others pass
by: as they are at stride 1, through a 2x2 max pool at stride 2. A node is what passes by, summed over its incoming
edges with the importance of each (Eq. 2), and behind it what the operations made. So the operations that read the
node compute other channels than those that made it, until K nodes later all have been computed.

DECISION: that rotation takes the place of PC-DARTS' channel shuffle. It does the same, and needs no layer of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from hmnas_tf.layers import fused, stock


def split(x: Any, partial_channels: int, strides: int) -> tuple[Any, Any]:
    """Returns what operations read of a node's state, and what passes by them at `strides`, None if nothing does."""
    if partial_channels == 1:
        return x, None
    read, passing = ops.split(x, [x.shape[-1] // partial_channels], axis=-1)
    return read, passing if strides == 1 else ops.max_pool(
        passing, 2, strides=2, padding="same", data_format="channels_last"
    )


def node(made: Sequence[Any], passing: Sequence[Any]) -> Any:
    """Returns a node's state: the sum of what operations made, behind the sum of what passed by, if anything did."""
    if not passing:
        return fused.add(made)
    return ops.concatenate([fused.add(passing), fused.add(made)], axis=-1)


def stock_split(x: Any, partial_channels: int, strides: int, name: str) -> tuple[Any, Any]:
    """Does what `split` does in stock layers whose names start with `name`."""
    if partial_channels == 1:
        return x, None
    count = x.shape[-1] // partial_channels
    passing = stock.channels(x, count, x.shape[-1], f"{name}_passing")
    if strides == 2:
        passing = keras.layers.MaxPooling2D(
            2, padding="same", data_format="channels_last", name=f"{name}_passing_pool"
        )(passing)
    return stock.channels(x, 0, count, f"{name}_read"), passing


def stock_node(made: list, passing: list, name: str) -> Any:
    """Does what `node` does in stock layers whose names start with `name`."""
    state = stock.add(made, name)
    if not passing:
        return state
    return keras.layers.Concatenate(name=f"{name}_concat")([stock.add(passing, f"{name}_passed"), state])
