"""Measures every artifact of a finished run and writes the tables of docs/deployment.md.

python tools/deployment_table.py --workdir=runs/quickstart --into=docs/deployment.md

Each artifact runs in its own runtime in a process of its own, one after the other, all of them in every round; times
are medians over rounds, ratios are to the unfolded Keras model of the same run. All processes share one CPU core.
"""

from __future__ import annotations

import functools
import os
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from absl import app, flags
from measured_part import processor, publish, require_marks

from hmnas_tf import command_line, recorded
from hmnas_tf.console.interruptions import told
from hmnas_tf.console.paths import path_of
from hmnas_tf.exporters import artifacts, clean_process
from hmnas_tf.exporters.formats import EXPORTERS
from hmnas_tf.runs.publication import artifact_path, exported
from hmnas_tf.storage.run_folder import RunFolder

FLAGS = flags.FLAGS
flags.DEFINE_string("workdir", None, "Run folder of a finished search.", required=True)
flags.DEFINE_string(
    "into", None, "Markdown file whose part between the two marks is replaced; none prints it."
)
flags.DEFINE_integer("rounds", 5, "How often each artifact is run.", lower_bound=1)


def measured(folder: RunFolder, pixels: Path, rounds: int) -> dict[str, tuple[float, float]]:
    """Returns the milliseconds of a batch of 1 and of 32 of every artifact, medians over rounds."""
    seconds: dict[str, list[Any]] = defaultdict(list)
    found = exported(folder.path, folder.results)
    paths = {name: artifact_path(folder.path, folder.results, name) for name in found}
    for _ in range(rounds):
        for name, path in paths.items():
            seconds[name].append(
                clean_process.run(name, EXPORTERS[name].runtime, path, pixels)["seconds"][1:]
            )
    return {
        name: tuple(1e3 * statistics.median(column) for column in zip(*rows, strict=True))
        for name, rows in seconds.items()
    }


def tables(results: dict[str, Any], times: dict[str, tuple[float, float]], rounds: int) -> list[str]:
    """Returns the lines of both tables."""
    derived, found = results["derived"], results["artifacts"]
    sizes = [("trained", derived["params_dense"], derived, "keras")]
    sizes.append(("folded", derived["folded"]["params"], derived["folded"], "keras_folded"))
    lines = [
        f"{results['dataset']['name']}, {results['dataset']['test_examples']:,} test images; {processor()}, one core; "
        f"TensorFlow {results['versions']['tensorflow']}, medians of {rounds} rounds.",
        "",
        "| network | parameters | not 0 | multiply-adds | `.keras`, bytes | gzip, bytes |",
        "|---|---|---|---|---|---|",
    ]
    for title, dense, size, name in sizes:
        lines.append(
            f"| {title} | {dense:,} | {size['params_nonzero']:,} | {size['flops']:,} | {found[name]['bytes']:,} | "
            f"{found[name]['gzip_bytes']:,} |"
        )
    lines += [
        "",
        "| artifact | bytes | gzip, bytes | relative difference | test error % | batch of 1, ms | ratio "
        "| batch of 32, ms | ratio |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    reference = times["keras"]
    for name, artifact in found.items():
        columns = [f"{ms:.2f} | {ms / base:.3f}" for ms, base in zip(times[name], reference, strict=True)]
        lines.append(
            f"| `{artifact['path'].removeprefix('model/')}` | {artifact['bytes']:,} | {artifact['gzip_bytes']:,} | "
            f"{artifact['relative_difference']:.1e} | {artifact['test_error']:.2f} | {' | '.join(columns)} |"
        )
    return lines


def main(argv: list[str]) -> None:
    """Measures and writes."""
    if len(argv) > 1:
        raise app.UsageError(f"{argv[1]!r} is no flag.")
    workdir = path_of(FLAGS.workdir, "workdir")
    require_marks(FLAGS.into)
    dataset, folder = recorded.opened(workdir)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with artifacts.stored(dataset.x_test[:64]) as pixels:
        times = measured(folder, pixels, FLAGS.rounds)
    publish(FLAGS.into, tables(folder.results, times, FLAGS.rounds))


if __name__ == "__main__":
    try:
        with told(functools.partial(command_line.complain, "deployment_table"), "Start it again."):
            app.run(main)
    except (ValueError, OSError, RuntimeError) as error:
        command_line.fail("deployment_table", error)
