"""Widths of an architecture: a ladder that only grows, and its widest network that fits."""

from __future__ import annotations

import pytest

from hmnas_tf.settings.paper import LEAST_CHANNELS
from hmnas_tf.space.genotype import Genotype
from hmnas_tf.space.published import published
from hmnas_tf.space.widening import at_width, widened


@pytest.fixture(scope="module", params=[("cifar", 3), ("cifar", 8), ("imagenet", 5)], ids=str)
def genotype(request):
    stem, cells = request.param
    return published("DARTS_V2", initial_channels=6, cells=cells, stem=stem)


def widths(genotype: Genotype) -> list[int]:
    return [genotype.channels(index) for index in range(len(genotype.cells))]


def test_every_step_is_as_wide_everywhere_and_reads_back(genotype):
    cells = len(genotype.cells)
    before = [LEAST_CHANNELS] * cells + [0]
    for step in range(10 * cells):
        wider = at_width(genotype, step)
        now = [*widths(wider), wider.topology.initial_channels]
        assert all(a <= b for a, b in zip(before, now, strict=True))
        assert wider.topology.initial_channels % 2 == 0
        assert [cell.nodes for cell in wider.cells] == [cell.nodes for cell in genotype.cells]
        assert Genotype.from_json(wider.to_json()) == wider
        before = now


def test_at_its_own_width_it_is_itself(genotype):
    widest = max(plan.channels for plan in genotype.topology.plans)
    assert at_width(genotype, widest * len(genotype.cells)) == genotype


@pytest.mark.parametrize("most", [0, 1, 2, 17, 63, 64, 200])
def test_the_widest_that_fits_is_found(genotype, most):
    def total(wider: Genotype) -> int:
        return sum(widths(wider)) + wider.topology.initial_channels

    asked = total(at_width(genotype, most))
    found = widened(genotype, lambda wider: total(wider) / asked)
    fitting = [wider for step in range(most + 99) if total(wider := at_width(genotype, step)) <= asked]
    assert found == fitting[-1]
