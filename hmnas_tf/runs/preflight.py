"""What can go wrong is found before anything is trained."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np

from hmnas_tf.config import Config
from hmnas_tf.console.progress import Say
from hmnas_tf.data import ImageDataset, Pair, dataset_from, split_indices
from hmnas_tf.data.memory import check_fits
from hmnas_tf.data.notices import tell
from hmnas_tf.derivation.rules import kept_by_masks
from hmnas_tf.derivation.training_network import auxiliary_cell, check_auxiliary
from hmnas_tf.exporters.contract import labelling_of
from hmnas_tf.exporters.formats import EXPORTERS, artifacts_of, missing_requirements, require_suitable
from hmnas_tf.layers.masked_kernel import halved
from hmnas_tf.networks.handmade import HAND_MADE
from hmnas_tf.networks.supernet import make_stems
from hmnas_tf.runs.choices import check_names
from hmnas_tf.runs.mlflow_store import require_store
from hmnas_tf.runs.teaching import load_teacher
from hmnas_tf.settings.budgets import KB
from hmnas_tf.settings.paper import LEAST_CHANNELS
from hmnas_tf.space.genotype import Genotype
from hmnas_tf.space.published import PUBLISHED, published
from hmnas_tf.space.topology import Topology
from hmnas_tf.stages.strategy import worker


def named(data: ImageDataset | Pair, config: Config, say: Say) -> tuple[ImageDataset, Config]:
    """Returns what a program gives as images as a dataset, and settings that do not name another one.

    What is odd about the images is said.

    Raises:
        ValueError: if the images cannot be taken, see `dataset_from`.
    """
    dataset = dataset_from(data, image_size=config.image_size, augmentation=config.augmentation, say=say)
    if not isinstance(data, ImageDataset):
        dataset = dataset.take(config.train_examples, config.test_examples)
    dataset = dataset.holding_out(config.holdout, config.seed)
    tell(dataset, say)
    return dataset, dataclasses.replace(config, dataset=dataset.name) if dataset.given else config


def check(config: Config, dataset: ImageDataset) -> None:
    """Refuses a run that could not be finished: names, sizes, packages, and images too small for its cells.

    Raises:
        ValueError: one line with what was expected, what came and what to do.
        ImportError: if a format or the log needs a package that is not installed.
    """
    check_training(config, dataset)
    topology = final_topology(config)
    least, smallest = topology.smallest_image(), min(dataset.image_shape[:2])
    if smallest < least:
        raise ValueError(
            f"images of {smallest} pixels are too small for this network, which needs {least}: pass --image_size or "
            "fewer cells."
        )
    if config.max_memory_kb:
        _check_memory(config, topology, dataset.image_shape)
    if config.auxiliary_weight:
        cell = auxiliary_cell(topology.cells)
        check_auxiliary([topology.pixels(cell, size) for size in dataset.image_shape[:2]])


def _check_memory(config: Config, topology: Topology, image_shape: tuple[int, int, int]) -> None:
    """Refuses a limit that the first convolution exceeds, which needs its input and its output at once."""
    narrowed = given_genotype(config).stems if config.genotype else ()
    if kept_by_masks(config.budgets, config.derivation):
        narrowed = (LEAST_CHANNELS,) * len(topology.stem_channels)
    stem = make_stems(topology, config.threshold, narrowed)[0]
    height, width = (halved(size, stem.strides) for size in image_shape[:2])
    values = math.prod(image_shape) + height * width * stem.filters[0]
    least = values * min(EXPORTERS[n].value_bytes for n in artifacts_of(config.formats, config.quantize))
    if least > KB * config.max_memory_kb:
        raise ValueError(
            f"max_memory_kb={config.max_memory_kb} cannot be met: the first convolution of this search alone needs "
            f"{least / KB:,.1f} kB. Ask for more, or take a smaller --initial_channels or --image_size, or 8 bits "
            "(--formats=micro or --quantize=int8)."
        )


def check_training(config: Config, dataset: ImageDataset) -> None:
    """Refuses what `check` does of a network without cells."""
    check_names(config)
    artifacts, labelling = artifacts_of(config.formats, config.quantize), labelling_of(dataset)
    require_suitable(artifacts, labelling)
    if not dataset.on_disk:
        check_fits(dataset.name, len(dataset.x_train) + len(dataset.x_test), dataset.x_train.shape[1:])
    for message in missing_requirements(artifacts):
        raise ImportError(message)
    if config.searches:
        _check_search(config, dataset)
    if config.teacher and config.finetune_epochs:
        load_teacher(config.teacher, dataset)
    examples = len(dataset.x_train)
    if config.finetune_epochs and config.finetune_batch_size > examples:
        raise ValueError(
            f"finetune_batch_size={config.finetune_batch_size} is more than the {examples} training images: take a "
            "smaller batch or more images."
        )
    if not worker():
        require_store(config.mlflow)


def _check_search(config: Config, dataset: ImageDataset) -> None:
    """Refuses a batch of supernet training or mask search that the images are too few for."""
    examples = len(dataset.x_train)
    if config.search_classes:
        drawn = dataset.random_classes(config.search_classes, config.seed)
        examples = int(np.isin(dataset.y_train, drawn).sum())
    weights, architecture = (
        len(part) for part in split_indices(examples, config.validation_fraction, config.seed)
    )
    if config.batch_size > weights:
        raise ValueError(
            f"batch_size={config.batch_size} is more than the {weights} images that train the weights ({examples} "
            f"training images less {architecture} for the architecture): take a smaller batch or more images."
        )


def require_multiples(config: Config, replicas: int) -> None:
    """Refuses batches that replicas cannot share equally.

    Raises:
        ValueError: naming the setting and what would do.
    """
    for name in ("batch_size", "finetune_batch_size"):
        if getattr(config, name) % replicas:
            raise ValueError(
                f"{name}={getattr(config, name)} cannot be shared equally by {replicas} replicas: take a multiple of "
                f"{replicas}."
            )


def given_genotype(config: Config) -> Genotype:
    """Returns the architecture that `--genotype` names: a published one, or that of a file.

    Raises:
        ValueError: if it is neither, or the file is not a genotype.
    """
    if config.genotype in HAND_MADE:
        raise ValueError(
            f"genotype={config.genotype!r} is a network made by hand, which has none: hmnas_tf.ablate and "
            "hmnas_tf.pareto train it as a rival."
        )
    if config.genotype in PUBLISHED:
        return published(
            config.genotype,
            initial_channels=config.initial_channels,
            cells=config.cells,
            stem=config.stem,
            reduce_in=config.reduce_in,
        )
    try:
        return Genotype.loads(Path(config.genotype).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"genotype={config.genotype!r} is neither a file that can be read ({error}) nor one of "
            f"{', '.join(sorted(PUBLISHED))}."
        ) from error


def final_topology(config: Config) -> Topology:
    """Returns the topology of the network that is fine-tuned and exported."""
    topology = given_genotype(config).topology if config.genotype else topology_of(config)
    return dataclasses.replace(
        topology,
        cells=config.evaluation_cells or topology.cells,
        initial_channels=config.evaluation_channels or topology.initial_channels,
    )


def topology_of(config: Config) -> Topology:
    """Returns the topology that the settings describe."""
    return Topology(
        initial_channels=config.initial_channels,
        cells=config.cells,
        nodes=config.nodes,
        operations=config.operations,
        stem=config.stem,
        partial_channels=config.partial_channels,
        reduce_in=config.reduce_in,
    )
