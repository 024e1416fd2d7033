"""Rivals that a person would write: trained as fine-tuning trains, in a run folder without search and files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from hmnas_tf.algorithm import fine_tune
from hmnas_tf.config import Config
from hmnas_tf.console.progress import Say
from hmnas_tf.data import ImageDataset
from hmnas_tf.exporters.formats import artifacts_of
from hmnas_tf.exporters.timing import artifact_for
from hmnas_tf.networks.handmade import HAND_MADE, of_size, require_possible
from hmnas_tf.runs.keras_defaults import own_defaults
from hmnas_tf.runs.latency import record_milliseconds, time_networks
from hmnas_tf.runs.opening import opened
from hmnas_tf.runs.preflight import check, check_training
from hmnas_tf.runs.widths import SIZES


def check_rival(setting: Config, dataset: ImageDataset, budgets: Mapping[str, float]) -> None:
    """Does what `preflight.check` does, and refuses budgets that a network made by hand cannot keep.

    Args:
        setting: of a row.
        dataset: images and labels.
        budgets: by the name of the cost; a network made by hand has no other bounds before a search.
    """
    if setting.genotype not in HAND_MADE:
        return check(setting, dataset)
    check_training(setting, dataset)
    if bounds := _sizes(budgets):
        require_possible(setting.genotype, dataset.image_shape, dataset.num_classes, bounds)


def bounds_of(budgets: Mapping[str, float], record: Mapping[str, Any]) -> dict[str, float]:
    """Returns how large a network made by hand may be: as budgets say or, without any, as the searched network is.

    Args:
        budgets: by the name of the cost.
        record: of the searched network, with `params`.
    """
    return _sizes(budgets) or {"params": record["params"]}


def _sizes(budgets: Mapping[str, float]) -> dict[str, float]:
    return {SIZES[name]: value for name, value in budgets.items() if name in SIZES}


def train_by_hand(
    dataset: ImageDataset, config: Config, path: Path, bounds: Mapping[str, float], say: Say
) -> dict[str, Any]:
    """Trains a network made by hand and returns the content of its `results.json`; continues where it stopped.

    Args:
        dataset: images and labels.
        config: settings of fine-tuning; `genotype` is a name in `handmade.HAND_MADE`.
        path: of its run folder.
        bounds: most of what `counting.size_of` counts; the network is as wide as they allow.
        say: shows a line of progress.

    Raises:
        ValueError: if no width is within the bounds, or the folder belongs to another run.
    """
    is_timed = artifact_for(config.latency_runtime) in artifacts_of(config.formats, config.quantize)
    with own_defaults(), opened(dataset, config, path, say) as run:
        if run.done("finetuned") and ("latency" in run.folder.results or not is_timed):
            return run.folder.results
        keras.utils.set_random_seed(run.seed("initial weights"))
        with run.building(f"{config.genotype} of the size that is asked for"):
            network = of_size(config.genotype, dataset.image_shape, dataset.num_classes, bounds)
        fine_tune(run, None, network)
        if is_timed:
            milliseconds = time_networks(config.latency_runtime, {"network": network})["network"]
            record_milliseconds(run.folder, config.latency_runtime, milliseconds)
        return run.folder.results
