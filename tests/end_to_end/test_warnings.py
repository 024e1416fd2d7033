"""A run that cannot prune says so before and after mask search; one that can does not."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow
BEFORE, AFTER = "Warning: mask search is too short", "Warning: mask search removed none"


def places(lines: list[str], beginning: str) -> list[int]:
    return [number for number, line in enumerate(lines) if line.startswith(beginning)]


def test_the_papers_rates_in_a_short_stage(run, make_config, tmp_path):
    lines = run(
        make_config(mask_rates="absolute", operation_price=0.0, finetune_epochs=0), tmp_path / "run"
    ).lines
    (first,), (last,) = (
        places(lines, "mask search       epoch   1/2"),
        places(lines, "mask search       epoch   2/2"),
    )
    before, after = places(lines, BEFORE), places(lines, AFTER)
    assert len(before) == 2  # operation and edge masks, weight masks
    assert max(before) < first < last < after[0]
    assert len(after) == 1


def test_relative_rates_and_a_price(short):
    assert not places(short.lines, BEFORE)
    removed = short.result.genotype.count()["operations"] < 4
    assert bool(places(short.lines, AFTER)) is not removed
