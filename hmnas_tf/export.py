"""Exports the network of a finished run: `python -m hmnas_tf.export --workdir=... --formats=onnx --quantize=int8`."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from hmnas_tf import command_line
from hmnas_tf.command_line import FLAGS, say
from hmnas_tf.commands import recorded
from hmnas_tf.commands.rewriting import rewrite_report
from hmnas_tf.console.ending import start_and_end
from hmnas_tf.console.names import require_known
from hmnas_tf.runs.choices import LISTS
from hmnas_tf.storage.possession import require_writable
from hmnas_tf.storage.run_folder import RunFolder


def define_flags(flag_values: flags.FlagValues = FLAGS) -> None:
    """Makes the flags of this command."""
    recorded.define_flags("Run folder of a finished search.", flag_values)
    flags.DEFINE_list(
        "formats",
        ["saved_model", "onnx", "litert"],
        f"Comma list of the formats to write. Known: {', '.join(sorted(LISTS['formats']))}.",
        flag_values=flag_values,
    )
    flags.DEFINE_list(
        "quantize",
        ["none"],
        f"Comma list of {' and '.join(LISTS['quantize'])}; int8 adds files with 8-bit weights and activations.",
        flag_values=flag_values,
    )


def run(workdir: Path) -> None:
    """Runs the command."""
    for name in ("formats", "quantize"):
        require_known(name, FLAGS[name].value, LISTS[name])
    config = recorded.settings(workdir, recorded.place())
    require_writable(workdir, "what is exported")
    command_line.load_tensorflow()
    from hmnas_tf.exporters.formats import artifacts_of
    from hmnas_tf.runs.publication import export

    artifacts_of(FLAGS.formats, FLAGS.quantize)  # a wrong word is told before the images are read
    dataset, folder = recorded.images(config, say), RunFolder(workdir)
    export(folder, dataset, FLAGS.formats, FLAGS.quantize, say)
    rewrite_report("export", workdir, config, lambda: dataset)


def main() -> None:
    """Does what the command line says; a program of your own that adds to the project can call it."""
    define_flags()
    command_line.start("export", run, goes_on=False)


if __name__ == "__main__":
    start_and_end(main)
