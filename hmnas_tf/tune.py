"""Tunes the settings of a search with KerasTuner: `python -m hmnas_tf.tune --flagfile=...`.

Every trial is a run folder of its own; running it again on the same `--workdir` continues.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from hmnas_tf import command_line
from hmnas_tf.command_line import FLAGS, say
from hmnas_tf.console.ending import start_and_end
from hmnas_tf.tuning.goal import OBJECTIVES, TRIALS, TUNERS, Tuning
from hmnas_tf.tuning.tuning_space import space


def define_flags(flag_values: flags.FlagValues = FLAGS) -> None:
    """Makes the flags of this command, those of `search` apart."""
    into = {"flag_values": flag_values}
    flags.DEFINE_enum("tuner", Tuning.tuner, sorted(TUNERS), "How settings are proposed.", **into)
    flags.DEFINE_enum(
        "objective",
        Tuning.objective,
        sorted(OBJECTIVES),
        "What is minimised: error in %, parameters, or error less --halving_worth for each halving of the parameters.",
        **into,
    )
    flags.DEFINE_float(
        "halving_worth",
        Tuning.halving_worth,
        "Percentage points of error that halving the parameters is worth, for --objective=both.",
        lower_bound=0.0,
        **into,
    )
    flags.DEFINE_list(
        "hyperparameters",
        list(Tuning.hyperparameters),
        "Comma list of what is tuned, each NAME or NAME:LOW:HIGH; `auto` is all that do anything (docs/tuning.md).",
        **into,
    )
    flags.DEFINE_integer(
        "trials",
        Tuning.trials,
        f"Trials at most; 0 is {TRIALS}, with Hyperband as many as it has.",
        lower_bound=0,
        **into,
    )


def run(workdir: Path) -> None:
    """Runs the command."""
    tuning = Tuning(
        tuner=FLAGS.tuner,
        objective=FLAGS.objective,
        hyperparameters=tuple(FLAGS.hyperparameters),
        trials=FLAGS.trials,
        halving_worth=FLAGS.halving_worth,
    )
    config = command_line.settings()
    space(tuning.hyperparameters, config)  # says what is wrong with them
    command_line.refuse_workers()
    if not config.holdout:
        say(
            "Warning: trials are compared on the test images, so the error of the best will be too good to be true: "
            "--holdout=0.2 compares them on a part of the training images."
        )
    dataset = command_line.given(config)
    from hmnas_tf.tuning.tuning import tune

    tune(dataset, config, workdir, tuning, say)


def main() -> None:
    """Does what the command line says; a program of your own that adds to the project can call it."""
    command_line.define_flags()
    define_flags()
    command_line.start("tune", run)


if __name__ == "__main__":
    start_and_end(main)
