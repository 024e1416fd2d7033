"""Using what a run has exported: measuring its artifacts once more, and predicting."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from hmnas_tf.console.mistakes import in_a_line
from hmnas_tf.console.progress import Say, silent, watched
from hmnas_tf.data import ImageDataset
from hmnas_tf.data.augmentation import normalise
from hmnas_tf.data.image_files import FULL, highest_value, read_image
from hmnas_tf.data.resizing import fit
from hmnas_tf.exporters import artifacts
from hmnas_tf.exporters.contract import labelling_of
from hmnas_tf.exporters.formats import EXPORTERS, FORMATS, QUANTIZATIONS
from hmnas_tf.exporters.parity import ArtifactError
from hmnas_tf.runs.publication import artifact_path, exported
from hmnas_tf.runtimes import keras_file
from hmnas_tf.runtimes.__main__ import BATCH
from hmnas_tf.storage.run_folder import RunFolder

READABLE = (1, 3)  # numbers of channels that `read_image` can make


def evaluations(
    folder: RunFolder, dataset: ImageDataset, wanted: Sequence[str] = (), say: Say = silent
) -> Iterator[tuple[str, dict[str, Any] | Exception]]:
    """Runs artifacts of a finished run on its test images, each in its own runtime.

    Args:
        folder: of the run.
        dataset: what it was made on.
        wanted: formats or artifacts, keys of `FORMATS` or `EXPORTERS`; none is all there are.
        say: shows a line of progress.

    Yields:
        The name of an artifact with what `artifacts.measure` returns or, if it is not what was exported, the reason.

    Raises:
        ValueError: if the run is not finished, has not exported one of `wanted`, or its data are others.
    """
    folder.refuse_other_data(dataset.describe())
    found = exported(folder.path, folder.results)
    names = [name for name in EXPORTERS if name in found]
    if unknown := sorted(found.keys() - EXPORTERS):
        raise ValueError(
            f"{unknown[0]!r} among the artifacts of {str(folder.path)!r} is none of {', '.join(EXPORTERS)}: take the "
            "version that has exported it."
        )
    if wanted:
        asked = {name for word in wanted for name in FORMATS.get(word, (word,))}
        added = {more[word] for more in QUANTIZATIONS.values() for word in wanted if word in more}
        asked |= added & set(found)
        names = [name for name in EXPORTERS if name in asked]
        for name in set(names) - set(found):
            artifact_path(folder.path, folder.results, name)  # says which is missing
    labelling = labelling_of(dataset)
    with artifacts.stored(dataset.x_test) as pixels:
        for name in watched(names, say, "evaluate", named=True):
            try:
                path = artifact_path(folder.path, folder.results, name)
                yield name, artifacts.measure(name, path, labelling, pixels, dataset.y_test)
            except (ValueError, OSError, ArtifactError) as error:
                yield name, error


def predictions(
    workdir: Path, results: dict[str, Any], files: Sequence[Path], say: Say = silent
) -> Iterator[tuple[Path, dict[str, float] | Exception]]:
    """Classifies image files with the folded network of a finished run.

    Args:
        workdir: the run folder.
        results: content of its `results.json`.
        files: images in any format and size that a folder data set may hold; they are brought to size in the same way.
        say: shows a line to the user, once, about images that look darker than those of more than 8 bits should.

    Yields:
        Each file with the probabilities of the classes or, if it is no image, the reason. The others go on.

    Raises:
        ValueError: if the run is not finished, its `.keras` file is not what it was, or its images have other channels
            than 1 or 3.
    """
    network = keras_file.load(artifact_path(workdir, results, "keras_folded"))
    labelling = json.loads(network.labelling)
    height, width, channels = labelling["image_shape"]
    white, resized, told = labelling.get("white", FULL), labelling.get("resized", 0), False
    if channels not in READABLE:
        raise ValueError(f"the network takes images of {channels} channels, but files are read with 1 or 3.")
    for start in range(0, len(files), BATCH):
        part = files[start : start + BATCH]
        read = {file: _read(file, height, width, channels, white, resized) for file in part}
        sound = [file for file, image in read.items() if not isinstance(image, Exception)]
        told = told or any(_looks_dark(file, white, say) for file in sound)
        pixels = [read[file] for file in sound]
        images = normalise(np.stack(pixels), labelling["mean"], labelling["std"]).numpy() if pixels else []
        rows = iter(tf.nn.softmax(network.predict(images)).numpy() if pixels else ())
        for file, image in read.items():
            if isinstance(image, Exception):
                yield file, image
            else:
                yield file, dict(zip(labelling["class_names"], map(float, next(rows)), strict=True))


def _read(
    file: Path, height: int, width: int, channels: int, white: int, resized: int
) -> np.ndarray | Exception:
    try:
        return fit(tf.constant(read_image(file, channels, white)), height, width, resized).numpy()
    except (ValueError, OSError, tf.errors.OpError) as error:
        return error


def _looks_dark(file: Path, white: int, say: Say) -> bool:
    """Tells of a file with more than 8 bits that uses less than a quarter of them, and returns whether it did."""
    highest = highest_value(file)
    dark = 0 < highest * 4 <= white
    if dark:
        say(
            f"Notice: {in_a_line(str(file))} has more than 8 bits and no value above {highest:,}; white is {white:,} "
            "to this network, so that it, and others like it, look dark: scale them where their own white is lower"
        )
    return dark
