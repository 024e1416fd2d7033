"""Writing the report of a run once more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from hmnas_tf import command_line
from hmnas_tf.command_line import say
from hmnas_tf.console.mistakes import expected, in_words
from hmnas_tf.storage.run_folder import RunFolder

if TYPE_CHECKING:
    from hmnas_tf.config import Config
    from hmnas_tf.data import ImageDataset


def rewrite_report(command: str, workdir: Path, config: Config, images: Callable[[], ImageDataset]) -> None:
    """Writes `report.html` of a run, finished or not, with what its network makes of the test images if it can be told.

    Args:
        command: that does it.
        workdir: of the run.
        config: its settings.
        images: returns its images.
    """
    command_line.load_tensorflow()
    from hmnas_tf.runs.run_report import judge, write_report

    folder, judgement, unjudged = RunFolder(workdir), None, ""
    if folder.finished():  # before, there is no network to show the images to
        try:
            judgement = judge(folder, images())
        except Exception as error:
            if not isinstance(error, expected()):
                raise
            unjudged = f"The test images could not be shown to the network again: {in_words(error)}"
            command_line.complain(command, unjudged)
    say(f"report: {write_report(folder, config, judgement, unjudged=unjudged)}")
