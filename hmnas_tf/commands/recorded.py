"""What the commands that read a run share: its settings, and its images, wherever they lie now."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from hmnas_tf import command_line
from hmnas_tf.command_line import FLAGS
from hmnas_tf.console.progress import Say, silent
from hmnas_tf.storage.places import located, require_images
from hmnas_tf.storage.run_folder import RunFolder, read_flag_lines, read_results

if TYPE_CHECKING:
    from hmnas_tf.config import Config
    from hmnas_tf.data import ImageDataset


def define_flags(text: str, flag_values: flags.FlagValues = FLAGS) -> None:
    """Makes `--workdir`, with a text, and `--dataset`."""
    command_line.define_workdir(text, flag_values)
    flags.DEFINE_string(
        "dataset",
        "",
        "Where the run's images are now, `folder:PATH` or `npz:FILE`, checked by content; empty is where they were.",
        flag_values=flag_values,
    )


def place() -> str:
    """Returns where the command line says that the run's images are now, "" if it does not."""
    return (
        FLAGS.dataset if "dataset" in FLAGS else ""
    )  # a program may call a command's `run` without its flags


def opened(workdir: Path, say: Say = silent, dataset: str = "") -> tuple[ImageDataset, RunFolder]:
    """Returns the images of the run in a folder, and the folder; `say` shows how far the reading is.

    Raises:
        ValueError: if there is none, or its `run.flags` cannot be read.
    """
    config = settings(workdir, dataset)
    command_line.load_tensorflow()
    return images(config, say), RunFolder(workdir)


def settings(workdir: Path, dataset: str = "") -> Config:
    """Returns the settings of the run in a folder; `dataset` says where its images are now, "" where they were.

    Raises:
        ValueError: if there is none, or its `run.flags` cannot be read.
    """
    path = workdir / "run.flags"
    if not path.is_file():
        raise ValueError(
            f"workdir {str(workdir)!r} holds no run, there is no {path}: pass the --workdir of a search."
        )
    values = flags.FlagValues()
    command_line.define_flags(values)
    try:
        values(["run.flags", *read_flag_lines(path)])
    except flags.Error as error:
        raise ValueError(
            f"{path} is not what a run of this version wrote: {command_line.of_flag(error, values)}"
        ) from error
    config = located(command_line.checked(values), read_results(workdir))
    return dataclasses.replace(config, dataset=dataset) if dataset else config


def images(config: Config, say: Say = silent) -> ImageDataset:
    """Returns the images of a run; `say` shows how far the reading is.

    Raises:
        ValueError: if they are not where they were, or cannot be read.
    """
    try:
        return command_line.images(config, say)
    except ValueError:
        require_images(config)
        raise
