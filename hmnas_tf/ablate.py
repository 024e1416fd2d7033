"""Repeats the paper's ablations (Tables 3, 5 and 6) on any dataset: `python -m hmnas_tf.ablate --flagfile=...`.

Every cell of the table is a run folder of its own; running it again on the same `--workdir` continues.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from hmnas_tf import command_line
from hmnas_tf.command_line import FLAGS, say
from hmnas_tf.console.ending import start_and_end
from hmnas_tf.console.names import NamesOf, require_known

VARIANTS = NamesOf("hmnas_tf.ablation.ablation", "VARIANTS")


def define_flags(flag_values: flags.FlagValues = FLAGS) -> None:
    """Makes the flags of this command, those of `search` apart."""
    into = {"flag_values": flag_values}
    names = ", ".join(VARIANTS)
    flags.DEFINE_list(
        "variants", list(VARIANTS), f"Comma list of the rows to measure. Known: {names}.", **into
    )
    flags.DEFINE_integer(
        "seeds",
        3,
        "Repetitions of every row, with the seeds --seed, --seed + 1, and so on.",
        lower_bound=1,
        **into,
    )
    flags.DEFINE_integer(
        "scratch_epochs",
        0,
        "Epochs of networks that start from random weights; 0 gives every row the same total, the supernet's included.",
        lower_bound=0,
        **into,
    )
    flags.DEFINE_float(
        "scratch_learning_rate",
        0.025,
        "Initial SGD rate of networks that start from random weights (DARTS).",
        lower_bound=0.0,
        **into,
    )


def run(workdir: Path) -> None:
    """Runs the command."""
    require_known("variants", FLAGS.variants, VARIANTS, different=True)
    config = command_line.settings()
    command_line.refuse_workers()
    dataset = command_line.given(config)
    from hmnas_tf.ablation.ablation import ablate

    ablate(
        dataset,
        config,
        workdir,
        variants=FLAGS.variants,
        seeds=FLAGS.seeds,
        scratch_epochs=FLAGS.scratch_epochs,
        scratch_learning_rate=FLAGS.scratch_learning_rate,
        say=say,
    )


def main() -> None:
    """Does what the command line says; a program of your own that adds to the project can call it."""
    command_line.define_flags()
    define_flags()
    command_line.start("ablate", run)


if __name__ == "__main__":
    start_and_end(main)
