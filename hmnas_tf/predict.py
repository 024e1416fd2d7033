"""Names what image files show: `python -m hmnas_tf.predict --workdir=... --images='photos/*.jpg'`."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from hmnas_tf import command_line
from hmnas_tf.command_line import FLAGS, aside
from hmnas_tf.console.ending import start_and_end
from hmnas_tf.console.mistakes import in_a_line
from hmnas_tf.console.paths import pictures
from hmnas_tf.console.progress import counted, watched
from hmnas_tf.storage.run_folder import read_results


def define_flags(flag_values: flags.FlagValues = FLAGS) -> None:
    """Makes the flags of this command."""
    command_line.define_workdir("Run folder of a finished search.", flag_values)
    flags.DEFINE_multi_string(
        "images",
        None,
        "Image files: a file, a folder, a glob pattern in quotes, where ** stands for any folders, or several of these "
        "with commas between; may be given more than once.",
        flag_values=flag_values,
    )
    flags.DEFINE_integer(
        "top",
        1,
        "Number of classes to name for each image, the likeliest first.",
        lower_bound=1,
        flag_values=flag_values,
    )


def run(workdir: Path) -> int:
    """Runs the command; returns the exit code, 2 if a file could not be read as an image."""
    if not any(FLAGS.images or ()):
        raise ValueError("--images is missing: name image files, as in --images='photos/*.jpg'.")
    files, left_out = pictures(FLAGS.images)
    if left_out:
        aside(
            f"predict: left out {counted(len(left_out), 'file')} that end as no picture does: "
            f"{in_a_line(str(left_out[0]))}, ..."
        )
    results = read_results(workdir)
    command_line.load_tensorflow()
    from hmnas_tf.runs.use import predictions

    outcomes = predictions(workdir, results, files, aside)
    shown = watched(outcomes, aside, "predict", total=len(files))
    return command_line.show("predict", shown, line, many=True)


def line(file: Path, probabilities: dict[str, float]) -> str:
    """Returns what is shown of an image."""
    likeliest = sorted(probabilities.items(), key=lambda item: -item[1])[: FLAGS.top]
    return "\t".join(
        [in_a_line(str(file)), *(f"{name}\t{probability:.4f}" for name, probability in likeliest)]
    )


def main() -> None:
    """Does what the command line says; a program of your own that adds to the project can call it."""
    define_flags()
    command_line.start("predict", run, goes_on=False)


if __name__ == "__main__":
    start_and_end(main)
