"""What can go wrong is found before anything is trained."""

from __future__ import annotations

import dataclasses
from collections import ChainMap
from collections.abc import Collection
from pathlib import Path

from hmnas_tf.config import Config
from hmnas_tf.console.progress import Say
from hmnas_tf.data import AUGMENTATIONS, ImageDataset, Pair, dataset_from, split_indices
from hmnas_tf.derivation.rules import RULES
from hmnas_tf.derivation.training_network import auxiliary_cell, check_auxiliary
from hmnas_tf.exporters.formats import FORMATS, QUANTIZATIONS, artifacts_of, missing_requirements
from hmnas_tf.layers.multi_level_encoding import EDGE_SOFTMAXES
from hmnas_tf.layers.operations import OPERATIONS
from hmnas_tf.space.genotype import Genotype
from hmnas_tf.space.published import PUBLISHED, published
from hmnas_tf.space.topology import CELL_SHARINGS, STEMS, Topology
from hmnas_tf.stages.hypergradients import HYPERGRADIENTS
from hmnas_tf.stages.learning_rates import FINETUNE_SCHEDULES, MASK_RATES
from hmnas_tf.stages.update_schedules import UPDATE_SCHEDULES

AUGMENTATION_WORDS = ("auto", "none")
INITIAL_WEIGHTS = ("inherited", "random")
CHOICES: dict[str, Collection[str]] = {  # settings that take one of these names
    "architecture_gradient": HYPERGRADIENTS,
    "cell_sharing": CELL_SHARINGS,
    "derivation": RULES,
    "edge_softmax": EDGE_SOFTMAXES,
    "finetune_schedule": FINETUNE_SCHEDULES,
    "initial_weights": INITIAL_WEIGHTS,
    "mask_rates": MASK_RATES,
    "stem": STEMS,
    "update_schedule": UPDATE_SCHEDULES,
}
LISTS: dict[str, Collection[str]] = {  # settings that take several of these names
    "augmentation": ChainMap(AUGMENTATIONS, dict.fromkeys(AUGMENTATION_WORDS)),  # sees what is added later
    "formats": FORMATS,
    "operations": OPERATIONS,
    "quantize": QUANTIZATIONS,
}


def check_names(config: Config) -> None:
    """Refuses a setting that is not one of the names it can be.

    Raises:
        ValueError: naming the setting, the value and what is accepted.
    """
    for name, known in CHOICES.items():
        _check(name, getattr(config, name), (getattr(config, name),), known)
    for name, known in LISTS.items():
        _check(name, ",".join(getattr(config, name)), getattr(config, name), known)
    words = {*AUGMENTATION_WORDS} & set(config.augmentation)
    if words and len(config.augmentation) > 1:
        raise ValueError(
            f"augmentation={','.join(config.augmentation)!r}: {sorted(words)[0]!r} must stand alone."
        )
    if set(config.operations) <= {"none"}:
        raise ValueError("operations='none': there must be one that does something.")


def _check(setting: str, value: str, names: Collection[str], known: Collection[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"{setting}={value!r}: {unknown[0]!r} is none of {', '.join(sorted(known))}.")


def named(data: ImageDataset | Pair, config: Config, say: Say) -> tuple[ImageDataset, Config]:
    """Returns what a program gives as images as a dataset, and settings that do not name another one.

    Raises:
        ValueError: if the images cannot be taken, see `dataset_from`.
    """
    dataset = dataset_from(data, image_size=config.image_size, say=say)
    if not isinstance(data, ImageDataset):
        dataset = dataset.take(config.train_examples, config.test_examples)
    return dataset, dataclasses.replace(config, dataset=dataset.name) if dataset.given else config


def check(config: Config, dataset: ImageDataset) -> None:
    """Refuses a run that could not be finished: names, sizes, packages.

    Raises:
        ValueError: one line with what was expected, what came and what to do.
        ImportError: if a format needs a package that is not installed.
    """
    check_names(config)
    for message in missing_requirements(artifacts_of(config.formats, config.quantize)):
        raise ImportError(message)
    if config.searches:
        _check_search(config, dataset.of_random_classes(config.search_classes, config.seed))
    examples = len(dataset.x_train)
    if config.finetune_epochs and config.finetune_batch_size > examples:
        raise ValueError(
            f"finetune_batch_size={config.finetune_batch_size} is more than the {examples} training images: take a "
            "smaller batch or more images."
        )
    topology = final_topology(config)
    least, smallest = topology.smallest_image(), min(dataset.image_shape[:2])
    if smallest < least:
        raise ValueError(
            f"images of {smallest} pixels are too small for this network, which needs {least}: pass --image_size or "
            "fewer cells."
        )
    if config.auxiliary_weight:
        cell = auxiliary_cell(topology.cells)
        check_auxiliary([topology.pixels(cell, size) for size in dataset.image_shape[:2]])


def _check_search(config: Config, dataset: ImageDataset) -> None:
    """Refuses a batch of supernet training or mask search that the images are too few for."""
    examples = len(dataset.x_train)
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
    if config.genotype in PUBLISHED:
        return published(
            config.genotype,
            initial_channels=config.initial_channels,
            cells=config.cells,
            stem=config.stem,
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
    )
