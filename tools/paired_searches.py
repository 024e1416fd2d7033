"""Runs with several settings, seed by seed on the same images: what the tools that compare settings share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hmnas_tf import command_line
from hmnas_tf.console.progress import Say

SEEDS = "Repetitions, with the seeds --seed, --seed + 1, and so on."  # the help of a tool's flag


def searches(
    config: Any,
    workdir: Path,
    seeds: int,
    variants: Mapping[str, Mapping[str, Any]],
    dataset: Callable[[int], str] | None = None,
    run: Callable[..., dict[str, Any]] | None = None,
) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Yields variant, seed and `results.json` of each run; what is finished is read, what was begun goes on.

    Args:
        config: settings of all runs; its seed is the first.
        workdir: has a run folder for each variant and seed.
        seeds: their number.
        variants: what each changes in the settings, by a name that may be part of a folder's.
        dataset: returns the name of the images of a seed; None takes those of the settings.
        run: returns the results of images, settings, run folder and what shows a line; None searches.
    """
    from hmnas_tf.data.augmentation import stored_size

    run, loaded = run or searched, {}
    for seed in range(config.seed, config.seed + seeds):
        name = dataset(seed) if dataset else config.dataset
        for variant, changes in variants.items():
            own = dataclasses.replace(config, seed=seed, dataset=name, **changes)
            place = workdir / f"{variant}_{seed}"
            data = tuple(getattr(own, field) for field in command_line.DATA_FLAGS if field != "augmentation")
            data += name, stored_size(own.image_size, own.augmentation)
            if data not in loaded:
                loaded = {data: command_line.given(own)}  # the images of one seed at a time
            yield variant, seed, run(loaded[data], own, place, command_line.say)


def searched(dataset: Any, config: Any, workdir: Path, say: Say) -> dict[str, Any]:
    """Returns the results of a search, with its files."""
    from hmnas_tf.algorithm import search

    return search(dataset, config, workdir, say).results


def trained(dataset: Any, config: Any, workdir: Path, say: Say) -> dict[str, Any]:
    """Returns the results of training an architecture that is not searched, without files for others."""
    from hmnas_tf.algorithm import fine_tune
    from hmnas_tf.runs.construction import architecture, initial_network
    from hmnas_tf.runs.keras_defaults import own_defaults
    from hmnas_tf.runs.opening import opened
    from hmnas_tf.runs.preflight import check

    check(config, dataset)
    with own_defaults(), opened(dataset, config, workdir, say) as run:
        if not run.done("finetuned"):
            genotype = architecture(run, None)
            with run.building("the network"):
                network = initial_network(run, genotype, None)
            fine_tune(run, genotype, network)
        return run.folder.results
