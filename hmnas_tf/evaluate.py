"""Measures the test error of a run's artifacts in their own runtimes: `python -m hmnas_tf.evaluate --workdir=...`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from absl import flags

from hmnas_tf import command_line
from hmnas_tf.command_line import FLAGS, aside
from hmnas_tf.commands import recorded
from hmnas_tf.console.ending import start_and_end
from hmnas_tf.console.names import NamesOf, require_known
from hmnas_tf.runs.choices import LISTS

EXPORTERS = NamesOf("hmnas_tf.exporters.formats", "EXPORTERS")


def define_flags(flag_values: flags.FlagValues = FLAGS) -> None:
    """Makes the flags of this command."""
    recorded.define_flags("Run folder of a finished search.", flag_values)
    flags.DEFINE_list(
        "artifact",
        [],
        f"Comma list of formats or single artifacts to evaluate; none is all. Known: {', '.join(known())}.",
        flag_values=flag_values,
    )


def known() -> list[str]:
    """Returns what `--artifact` takes."""
    return sorted({*LISTS["formats"], *EXPORTERS})


def run(workdir: Path) -> int:
    """Runs the command; returns the exit code, 2 if an artifact is not sound."""
    require_known("artifact", FLAGS.artifact, known())
    dataset, folder = recorded.opened(workdir, aside, recorded.place())
    from hmnas_tf.runs.use import evaluations

    return command_line.show("evaluate", evaluations(folder, dataset, FLAGS.artifact, aside), line)


def line(artifact: str, outcome: dict[str, Any]) -> str:
    """Returns what is shown of a sound artifact."""
    seconds, scores = outcome["seconds"], outcome["scores"]
    runtime = f"  ({outcome['checked_with']})" if "checked_with" in outcome else ""
    return (
        f"{artifact:<13} test error {outcome['test_error']:6.2f} %  macro F1 {scores['macro']['f1']:6.2f} %  "
        f"calibration error {scores['calibration_error']:5.2f} %  "
        f"batch of 1 {1e3 * seconds['batch_1']:8.2f} ms  batch of 32 {1e3 * seconds['batch_32']:8.2f} ms{runtime}"
    )


def main() -> None:
    """Does what the command line says; a program of your own that adds to the project can call it."""
    define_flags()
    command_line.start("evaluate", run, goes_on=False)


if __name__ == "__main__":
    start_and_end(main)
