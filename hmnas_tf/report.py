"""Writes report.html of a run, also of one still in progress: `python -m hmnas_tf.report --workdir=...`."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from hmnas_tf import command_line
from hmnas_tf.command_line import FLAGS, say
from hmnas_tf.commands import recorded
from hmnas_tf.commands.rewriting import rewrite_report
from hmnas_tf.console.ending import start_and_end
from hmnas_tf.storage.possession import require_writable


def define_flags(flag_values: flags.FlagValues = FLAGS) -> None:
    """Makes the flags of this command."""
    recorded.define_flags("Run folder of a search, finished or not.", flag_values)


def run(workdir: Path) -> None:
    """Runs the command."""
    config = recorded.settings(workdir, recorded.place())
    require_writable(workdir, "report.html")
    rewrite_report("report", workdir, config, lambda: recorded.images(config, say))


def main() -> None:
    """Does what the command line says; a program of your own that adds to the project can call it."""
    define_flags()
    command_line.start("report", run, goes_on=False)


if __name__ == "__main__":
    start_and_end(main)
