"""Searches with several settings, seed by seed on the same images: what the tools that compare settings share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hmnas_tf import command_line

SEEDS = "Repetitions, with the seeds --seed, --seed + 1, and so on."  # the help of a tool's flag


def searches(
    config: Any,
    workdir: Path,
    seeds: int,
    variants: Mapping[str, Mapping[str, Any]],
    dataset: Callable[[int], str] | None = None,
) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Yields variant, seed and `results.json` of each search; what is finished is read, what was begun goes on.

    Args:
        config: settings of all searches; its seed is the first.
        workdir: has a run folder for each variant and seed.
        seeds: their number.
        variants: what each changes in the settings, by a name that may be part of a folder's.
        dataset: returns the name of the images of a seed; None takes those of the settings.
    """
    from hmnas_tf.algorithm import search

    for seed in range(config.seed, config.seed + seeds):
        name = dataset(seed) if dataset else config.dataset
        for variant, changes in variants.items():
            own = dataclasses.replace(config, seed=seed, dataset=name, **changes)
            place = workdir / f"{variant}_{seed}"
            yield variant, seed, search(command_line.given(own), own, place, command_line.say).results
