"""The small networks whose milliseconds tell those of a whole one: each has one part of a supernet.

Image, a 1x1 convolution with ReLU, the part, global average pooling, two classes. Without the part it is `nothing`; the
difference is what the part costs between tensors that a runtime has brought into its own layout.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from hmnas_tf.layers import stock
from hmnas_tf.layers.cell import Cell
from hmnas_tf.layers.factorized_reduce import FactorizedReduce
from hmnas_tf.layers.mixed_operation import MixedOperation
from hmnas_tf.layers.operation import Operation
from hmnas_tf.networks.supernet import Supernet
from hmnas_tf.settings.paper import LEAST_CHANNELS
from hmnas_tf.space.topology import INPUTS

NOTHING, STEM, PREPROCESS, REDUCE = "nothing", "stem", "preprocess", "factorized_reduce"
COPIES = 3  # of an operation, which sum into a node: two of them are further edges'


@dataclasses.dataclass(frozen=True)
class Part:
    """A small network that is timed.

    Attributes:
        what: an operation's name, or one of the four names above.
        height: of its input, in pixels.
        width: of its input, in pixels.
        strides: of the part.
        reads: channels of its input.
        makes: channels of its output; of the stems, which have the classifier behind them, the classes.
        copies: edges that carry it.
        between: channels that the stems put out, in order.
    """

    what: str
    height: int
    width: int
    strides: int
    reads: int
    makes: int
    copies: int = 1
    between: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        """Its name in a table."""
        size = f"{self.height}x{self.width}"
        channels = ">".join(str(number) for number in (self.reads, *self.between, self.makes))
        return f"{self.what} {size} /{self.strides} {channels} x{self.copies}"

    @property
    def nothing(self) -> Part:
        """The same network without the part."""
        return Part(NOTHING, self.height, self.width, 1, self.reads, self.reads)


def parts_of(supernet: Supernet, multiple: int = 1) -> dict[str, Callable[[], keras.Model]]:
    """Returns what makes the networks that a table for a supernet needs, by their keys in it.

    Args:
        supernet: built, untrained, with width masks.
        multiple: of which the exported network has all its numbers of channels.
    """
    found = {}
    for part, through in _parts(supernet, multiple):
        found.setdefault(part.key, functools.partial(_network, part, through))
        if part.what != STEM:
            found.setdefault(part.nothing.key, functools.partial(_network, part.nothing, lambda x: x))
    return found


def whole_key(supernet: Supernet) -> str:
    """Returns the key of the whole supernet, as a derived network, in a table."""
    of, size = supernet.topology, "x".join(str(number) for number in supernet.image_shape)
    sizes = f"{of.stem} C{of.initial_channels} {of.cells} cells {of.nodes} nodes"
    halved = "" if of.reduce_in == "operations" else f" halved in {of.reduce_in}"  # as older tables have it
    return f"whole {size} {sizes}{halved} {','.join(of.operations)} >{supernet.num_classes}"


def widths(channels: int, multiple: int) -> tuple[int, ...]:
    """Returns the numbers of channels at which an operation is timed.

    >>> widths(16, 1), widths(16, 4), widths(6, 4)
    ((2, 8, 16), (4, 8, 16), (4, 6))
    """
    wanted = (LEAST_CHANNELS, channels // 2, channels)
    return tuple(sorted({min(stock.up(number, multiple), channels) for number in wanted if number}))


def ends(channels: int, multiple: int) -> tuple[int, ...]:
    """Returns the numbers of channels, of what is read and of what is made, at which a preprocessing is timed."""
    return widths(channels, multiple)[-2:]


def stem_parts(supernet: Supernet, multiple: int) -> list[Part]:
    """Returns the stems with the classifier behind them, at some numbers of channels of each, the last's in turn."""
    height, width, channels = supernet.image_shape
    choices = (widths(most, multiple) for most in supernet.topology.stem_channels)
    return [
        Part(STEM, height, width, 1, channels, supernet.num_classes, between=between)
        for between in itertools.product(*choices)
    ]


def operation_parts(mixed: MixedOperation, name: str, copies: int, multiple: int) -> list[Part]:
    """Returns an operation of a source at some numbers of channels, [widths]."""
    numbers = widths(mixed.channels, multiple)
    return [Part(name, *mixed.pixels, mixed.strides, number, number, copies) for number in numbers]


def preprocess_parts(cell: Cell, source: int, multiple: int) -> list[list[Part]]:
    """Returns the preprocessing of an input of a cell, [channels read, channels made]."""
    _, height, width, channels = cell.input_shapes[source]
    preprocess = cell.preprocess[source]
    reduces = isinstance(preprocess, FactorizedReduce)
    what, strides = (REDUCE, 2) if reduces else (PREPROCESS, preprocess.strides)
    made = ends(cell.channels, multiple)
    return [
        [Part(what, height, width, strides, read, number) for number in made]
        for read in ends(channels, multiple)
    ]


def _parts(supernet: Supernet, multiple: int) -> Iterator[tuple[Part, Callable[[Any], Any]]]:
    """Yields the parts of a supernet, each with what applies it to a Keras tensor."""
    for part in stem_parts(supernet, multiple):
        yield part, functools.partial(_through_stems, supernet, part)
    for cell in supernet.cells:
        for source in range(INPUTS):
            for part in itertools.chain.from_iterable(preprocess_parts(cell, source, multiple)):
                yield part, functools.partial(_through_preprocess, cell.preprocess[source], part)
        for mixed in cell.mixed:
            for name, candidate in zip(mixed.operations, mixed.candidates, strict=True):
                for copies in (1, COPIES):
                    for part in operation_parts(mixed, name, copies, multiple):
                        yield part, functools.partial(_through_operation, candidate, part)


def _network(part: Part, through: Callable[[Any], Any]) -> keras.Model:
    x = image = keras.Input((part.height, part.width, part.reads), name="image")
    if part.what != STEM:
        own = {"data_format": "channels_last", "name": "into_layout"}
        x = keras.layers.ReLU(name="before")(keras.layers.Conv2D(part.reads, 1, **own)(x))
    y = through(x)
    y = keras.layers.GlobalAveragePooling2D(data_format="channels_last", name="pool")(y)
    classes = part.makes if part.what == STEM else 2
    return keras.Model(image, keras.layers.Dense(classes, name="logits")(y), name="part")


def _through_stems(supernet: Supernet, part: Part, x: Any) -> Any:
    for number, (stem, made) in enumerate(zip(supernet.stems, part.between, strict=True)):
        x = stem.stock(x, f"stem{number}", inputs=np.arange(x.shape[-1]), channels=np.arange(made))
    return x


def _through_preprocess(preprocess: Any, part: Part, x: Any) -> Any:
    return preprocess.stock(x, part.what, inputs=np.arange(part.reads), channels=np.arange(part.makes))


def _through_operation(candidate: Operation, part: Part, x: Any) -> Any:
    kept, edges = np.arange(part.makes), candidate.edges
    # Weights that differ, because those of two edges do.
    terms = [
        candidate.stock(x, f"{part.what}{copy}", copy % edges, 1.0 / (2 + copy), kept)
        for copy in range(part.copies)
    ]
    return stock.add(terms, "node")
