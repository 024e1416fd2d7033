"""Budgets of architectures that no masks have made: their cells get as many channels as the budgets allow."""

from __future__ import annotations

import functools

from hmnas_tf.derivation.evaluation_network import evaluation_network
from hmnas_tf.networks import counting
from hmnas_tf.runs.budgeting import InfeasibleError, amount
from hmnas_tf.runs.run import Run
from hmnas_tf.space.genotype import Genotype
from hmnas_tf.space.widening import at_width, part_of, widened

SIZES = {"parameters": "params", "multiply_adds": "flops"}  # what `counting.size_of` calls a budget's cost


def within_budgets(run: Run, genotype: Genotype) -> Genotype:
    """Returns a hand-ruled or random architecture with the widest cells that keep the budgets of a run.

    Args:
        run: whose budgets are of parameters and multiply-adds.
        genotype: without widths of its own, of as many cells as it is trained with.

    Raises:
        InfeasibleError: if even the narrowest cells do not; it names what they cost.
    """
    asked, path = run.config.budgets, run.folder.genotype
    if path.exists():  # the run goes on
        return Genotype.loads(path.read_text(encoding="utf-8"))

    @functools.cache
    def costs(genotype: Genotype) -> dict[str, int]:
        size = counting.size_of(
            evaluation_network(genotype, run.dataset.num_classes, run.dataset.image_shape)
        )
        return {name: size[SIZES[name]] for name in asked}

    with run.building("networks of several widths, to keep the budget"):
        smallest = costs(at_width(genotype, 0))
        for name, cost in smallest.items():
            if cost > asked[name]:
                raise InfeasibleError(
                    f"max_{name}={asked[name]} cannot be met: with the narrowest cells this architecture has "
                    f"{amount(name, cost)}. Ask for at least as many, or take fewer cells."
                )
        genotype = widened(genotype, lambda wider: part_of(costs(wider), asked))
        reached = costs(genotype)
    widths = ", ".join(str(genotype.channels(index)) for index in range(len(genotype.cells)))
    for name, cost in reached.items():
        run.say(f"budget: {amount(name, cost)} of {asked[name]:,} asked for, with cells of {widths} channels")
    run.folder.update(
        budgets={
            name: {"asked": asked[name], "smallest": smallest[name], "reached": cost}
            for name, cost in reached.items()
        }
    )
    return genotype
