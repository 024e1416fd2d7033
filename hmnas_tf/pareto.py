"""Makes networks of several sizes from one supernet: `python -m hmnas_tf.pareto --workdir=... --max_parameters=...`.

Each network is a run folder of its own in the run's `pareto`; running it again with the same flags continues.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from absl import flags

from hmnas_tf import command_line
from hmnas_tf.command_line import FLAGS, say
from hmnas_tf.commands import recorded
from hmnas_tf.commands.rewriting import rewrite_report
from hmnas_tf.config import Config
from hmnas_tf.console.ending import start_and_end
from hmnas_tf.console.names import NamesOf, require_known
from hmnas_tf.runs.choices import CHOICES, LISTS
from hmnas_tf.sizes.budget_lists import networks
from hmnas_tf.storage.possession import require_writable

RIVALS = NamesOf("hmnas_tf.sizes.sizes", "RIVALS")
COSTS = {"parameters": int, "multiply_adds": int, "latency_ms": float}  # and of what kind their numbers are
AS_IN_THE_RUN = ("mask_epochs", "finetune_epochs")  # settings of the last two stages that may be others


def define_flags(flag_values: flags.FlagValues = FLAGS) -> None:
    """Makes the flags of this command."""
    recorded.define_flags("Run folder of a search whose supernet is trained.", flag_values)
    into = {"flag_values": flag_values}
    texts = {field.name: field.metadata["help"] for field in dataclasses.fields(Config)}
    for cost in COSTS:
        text = texts[f"max_{cost}"].partition(";")[0]
        flags.DEFINE_list(f"max_{cost}", [], f"{text}: a comma list, one number a network.", **into)
    flags.DEFINE_enum(
        "latency_runtime", None, sorted(CHOICES["latency_runtime"]), "As in the run if not given.", **into
    )
    flags.DEFINE_string("mlflow", None, f"{texts['mlflow']} As in the run if not given.", **into)
    for name in AS_IN_THE_RUN:
        flags.DEFINE_integer(name, None, f"{texts[name]} As in the run if not given.", lower_bound=0, **into)
    flags.DEFINE_list("formats", None, f"{texts['formats']} As in the run if not given.", **into)
    flags.DEFINE_list(
        "rivals",
        [],
        "Comma list of networks made without masks that are trained at the size of each network, with as many epochs "
        f"in all. Known: {', '.join(RIVALS)}.",
        **into,
    )


def run(workdir: Path) -> None:
    """Runs the command."""
    asked = networks({cost: _numbers(f"max_{cost}", kind) for cost, kind in COSTS.items()})
    require_known("rivals", FLAGS.rivals, RIVALS)
    given: dict[str, Any] = {
        name: FLAGS[name].value
        for name in (*AS_IN_THE_RUN, "latency_runtime", "mlflow")
        if FLAGS[name].value is not None
    }
    if FLAGS.formats is not None:
        require_known("formats", FLAGS.formats, LISTS["formats"])
        given["formats"] = tuple(FLAGS.formats)
    config = recorded.settings(workdir, recorded.place())
    wanted = dataclasses.replace(config, **given)
    require_writable(workdir, "what is made")
    command_line.refuse_workers()
    dataset = command_line.given(config)
    from hmnas_tf.runs.tracking import log_folder
    from hmnas_tf.sizes.sizes import pareto

    pareto(dataset, wanted, workdir, asked, rivals=FLAGS.rivals, say=say)
    rewrite_report("pareto", workdir, config, lambda: dataset)
    log_folder(workdir, wanted.mlflow, say)


def _numbers(flag: str, kind: type) -> list[Any]:
    try:
        return [kind(word) for word in FLAGS[flag].value]
    except ValueError as error:
        expected = "whole numbers" if kind is int else "numbers"
        raise ValueError(
            f"flag --{flag}={','.join(FLAGS[flag].value)}: expected a comma list of {expected}: pass it as in "
            f"--{flag}=10000,30000."
        ) from error


def main() -> None:
    """Does what the command line says; a program of your own that adds to the project can call it."""
    define_flags()
    command_line.start("pareto", run)


if __name__ == "__main__":
    start_and_end(main)
