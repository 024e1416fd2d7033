"""What the operations on the edges that leave one node read."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

from keras import ops

from hmnas_tf.layers import fused
from hmnas_tf.layers.batch_norm import Statistics, move_averages


class Form(NamedTuple):
    """A form of a node's state: the `inputs` as they are, or after a ReLU (`relu`) all pixels, or the `even` or `odd`
    ones; taken `apart` for dilation."""

    pixels: str = "relu"
    apart: int = 1


class Source:
    """A node's state in the forms in which operations read it, each computed once for all that need it.

    It collects what batch normalizations find in training. At the end of a `with` statement their averages are moved,
    so that few nodes of a graph do it for all of them.

    Args:
        inputs: the state, [batch, height, width, channels].
        fixed: whether nothing that learns comes before it, so that operations need no gradient in it.
        width: which channels of what operations make of it take part, zeros and ones [channels]; None is all.
    """

    def __init__(self, inputs: Any, fixed: bool = False, width: Any = None):
        self.inputs = inputs
        self.fixed = fixed
        self.width = width
        self._apart: dict[Form, Any] = {}
        self._statistics: list[Statistics] = []

    def __enter__(self) -> Source:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is None:
            move_averages(self._statistics)

    def note(self, statistics: Sequence[Statistics]) -> None:
        """Notes what batch normalizations found."""
        self._statistics += statistics

    @functools.cached_property
    def relu(self) -> Any:
        """The state after a ReLU."""
        return ops.relu(self.inputs)

    @functools.cached_property
    def even(self) -> Any:
        """Every second pixel of it, from the first: [batch, ceil(height / 2), ceil(width / 2), channels]."""
        return subsample(self.relu, 2)

    @functools.cached_property
    def odd(self) -> Any:
        """Every second pixel of it, from the second, shaped like `even`; zeros where an odd size has none."""
        return fused.odd_pixels(self.relu)

    def form(self, form: Form) -> Any:
        """Returns the state in a form."""
        pixels = getattr(self, form.pixels)
        if form.apart == 1:
            return pixels
        if form not in self._apart:
            self._apart[form] = fused.apart(pixels, form.apart)
        return self._apart[form]


def subsample(x: Any, strides: int) -> Any:
    """Returns every `strides`-th pixel of both axes, from the first.

    A pool of single pixels: on a CPU a slice with strides in the middle axes takes five times as long.
    """
    return (
        x
        if strides == 1
        else ops.average_pool(x, 1, strides=strides, padding="valid", data_format="channels_last")
    )
