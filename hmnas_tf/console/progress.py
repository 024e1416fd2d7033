"""Progress of long work in plain lines, with the time left (pure Python)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

Say = Callable[[str], None]  # shows a line to the user
T = TypeVar("T")
EVERY = 5.0  # seconds between two lines of one piece of work


def silent(line: str) -> None:
    """Shows nothing."""


class Progress:
    """Says how far a piece of work is, at most once every few seconds; of short work nothing at all.

    Plain lines, because they are to be read in a log file and over a slow connection too. The time left follows from
    the parts after the first, which often builds a graph or starts a program and so is no measure.

    Args:
        say: shows a line to the user.
        what: is done, to begin the line with.
        total: number of parts, all taken to last equally long.
        every: seconds from the start to the first line, and from line to line.
        clock: returns seconds that only grow.
    """

    def __init__(
        self,
        say: Say,
        what: str,
        total: int,
        every: float = EVERY,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._say, self._what, self._total = say, what, total
        self._every, self._clock = every, clock
        self._said = clock()
        self._first: tuple[int, float] | None = None  # parts at the first call, and when that was

    def done(self, count: int, doing: str = "") -> None:
        """Takes note that `count` parts are done; the end of the work is left to whoever does it to tell.

        Args:
            count: parts from the beginning.
            doing: name of the part that comes next; "" if parts have none.
        """
        now = self._clock()
        if not 0 < count < self._total:
            return
        first, then = self._first = self._first or (count, now)
        if now - self._said < self._every:
            return
        self._said = now
        parts = [f"{self._what}: {count:,} of {self._total:,} ({100 * count // self._total} %) done"]
        if doing:
            parts.append(f"now {doing}")
        if count > first:
            parts.append(time_left((now - then) / (count - first) * (self._total - count)))
        self._say(", ".join(parts))


def watched(
    items: Iterable[T],
    say: Say,
    what: str,
    *,
    total: int | None = None,
    named: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[T]:
    """Yields the items and says how far they are, see `Progress`.

    Args:
        items: one after the other; what happens between two is the work.
        say: shows a line to the user.
        what: is done.
        total: number of items; None asks the items.
        named: tell which item comes next.
        clock: returns seconds that only grow.

    Raises:
        TypeError: if there is no total and the items do not know their number.
    """
    if total is None:
        if not isinstance(items, Sized):
            raise TypeError("items that do not know their number need a total.")
        total = len(items)
    progress = Progress(say, what, total, clock=clock)
    for count, item in enumerate(items):
        progress.done(count, str(item) if named else "")
        yield item


class Spent:
    """Adds up what parts of long work take, to tell it at the end.

    Args:
        clock: returns seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock, self._start = clock, clock()
        self._parts: dict[str, float] = {}

    @contextmanager
    def on(self, part: str) -> Iterator[None]:
        """What happens inside belongs to a part."""
        began = self._clock()
        try:
            yield
        finally:
            self._parts[part] = self._parts.get(part, 0.0) + self._clock() - began

    def words(self, rest: str) -> str:
        """Returns all seconds and those of each part; `rest` says what belongs to none."""
        whole = self._clock() - self._start
        parts = {**self._parts, rest: whole - sum(self._parts.values())}
        return f"{whole:.0f} s: " + ", ".join(f"{seconds:.0f} s {part}" for part, seconds in parts.items())


def counted(number: int, noun: str) -> str:
    """Returns a number and what is counted, such as `1 epoch` or `2,000 epochs`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def time_left(seconds: float) -> str:
    """Returns a rough time in words, such as `about 3 min left`; finer would promise what nobody knows."""
    if seconds < 10:
        return "a few seconds left"
    if seconds < 95:
        return f"about {round(seconds / 10) * 10} s left"
    if seconds < 90 * 60:
        return f"about {round(seconds / 60)} min left"
    hours = seconds / 3600
    return f"about {round(hours)} h left" if hours < 48 else f"about {round(hours / 24)} days left"
