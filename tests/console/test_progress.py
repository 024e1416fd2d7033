"""Progress is told seldom, in plain lines, with a time left that follows from the time taken."""

from __future__ import annotations

import itertools

import pytest

from hmnas_tf.console.progress import Progress, Spent, counted, silent, time_left, watched


class Clock:
    """Shows what it is set to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def lines_of(total: int, seconds: float, **settings) -> list[str]:
    """Returns what is said of `total` parts that last `seconds` each."""
    lines, clock = [], Clock()
    progress = Progress(lines.append, "reading", total, clock=clock, **settings)
    for count in range(1, total + 1):
        clock.now += seconds
        progress.done(count)
    return lines


def test_short_work_says_nothing():
    assert lines_of(1000, 0.0049) == []
    assert lines_of(1, 3600.0) == []
    assert lines_of(0, 1.0) == []


def test_long_work_says_a_line_every_few_seconds():
    lines = lines_of(4000, 1 / 64)  # 62.5 seconds
    assert len(lines) == 12
    assert lines[0] == "reading: 320 of 4,000 (8 %) done, about 60 s left"
    assert lines[-1] == "reading: 3,840 of 4,000 (96 %) done, a few seconds left"
    assert lines_of(4000, 1 / 64, every=15.0)[0] == "reading: 960 of 4,000 (24 %) done, about 50 s left"


def test_the_first_part_is_no_measure():
    lines, clock = [], Clock()
    progress = Progress(lines.append, "evaluation", 4, clock=clock)
    for count, seconds in ((1, 600.0), (2, 20.0), (3, 20.0)):
        clock.now += seconds
        progress.done(count)
    assert lines == [
        "evaluation: 1 of 4 (25 %) done",
        "evaluation: 2 of 4 (50 %) done, about 40 s left",
        "evaluation: 3 of 4 (75 %) done, about 20 s left",
    ]


def test_slow_parts_are_told_one_by_one_but_for_the_last():
    assert [line.split(" done")[0] for line in lines_of(4, 60.0)] == [
        "reading: 1 of 4 (25 %)",
        "reading: 2 of 4 (50 %)",
        "reading: 3 of 4 (75 %)",
    ]


def test_items_come_through_and_the_next_one_is_named():
    lines, clock, seen = [], Clock(), []
    for item in watched(["a", "b", "c"], lines.append, "export", named=True, clock=clock):
        seen.append(item)
        clock.now += 120.0
    assert seen == ["a", "b", "c"]
    assert lines == [
        "export: 1 of 3 (33 %) done, now b",
        "export: 2 of 3 (66 %) done, now c, about 2 min left",
    ]


def test_items_without_a_number_need_a_total():
    assert list(watched(iter("abc"), silent, "reading", total=3)) == ["a", "b", "c"]
    with pytest.raises(TypeError, match="need a total"):
        next(watched(itertools.count(), silent, "reading"))


def test_lines_hold_no_control_characters():
    assert all(line.isprintable() for line in lines_of(50, 1.0))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "a few seconds left"),
        (9.9, "a few seconds left"),
        (14, "about 10 s left"),
        (94, "about 90 s left"),
        (95, "about 2 min left"),
        (3 * 60 + 20, "about 3 min left"),
        (89 * 60, "about 89 min left"),
        (3 * 3600 - 60, "about 3 h left"),
        (50 * 3600, "about 2 days left"),
        (30 * 86400, "about 30 days left"),
    ],
)
def test_the_time_left_is_rough_and_readable(seconds, words):
    assert time_left(seconds) == words


def test_all_seconds_are_told():
    clock = Clock()
    spent = Spent(clock)
    for part, seconds in (("training", 20), ("writing", 5), ("training", 8)):
        with spent.on(part):
            clock.now += seconds
        clock.now += 2
    assert spent.words("building") == "39 s: 28 s training, 5 s writing, 6 s building"


def test_one_is_no_plural():
    assert [counted(n, "epoch") for n in (0, 1, 2000)] == ["0 epochs", "1 epoch", "2,000 epochs"]
