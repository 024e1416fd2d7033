"""Compares predicted and measured milliseconds of random architectures; writes docs/budgets_*.csv and their tables.

python tools/latency_check.py --workdir=runs/latency_check --into=docs/budgets.md

The search space is the quickstart's on 32x32 pixels; flags of `search` change it. Nothing is trained. Each architecture
has its own share of operations and of each cell's channels. Run it on a machine where nothing else runs.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
from absl import flags, logging
from measured_tables import INTO, ROOT, publish, require_places, start

from hmnas_tf import command_line
from hmnas_tf.console.paths import path_of
from hmnas_tf.console.progress import counted

FLAGS = flags.FLAGS
SPACE = (
    f"--flagfile={ROOT / 'flags' / 'quickstart.flags'}",
    "--max_parameters=0",
    "--max_latency_ms=1",
    "--image_size=32",
)
TABLES = ("latency", "architectures")
AT_A_TIME = 10  # architectures that have their turns together


def draw(supernet: Any, random: np.random.Generator) -> None:
    """Gives masks random values: a share of the operations, most edges, a share of each cell's channels."""
    above, share = 2 * supernet.threshold, random.uniform(0.08, 0.8)
    for encoding in supernet.encodings:
        for mask, kept in ((encoding.operation_mask, share), (encoding.edge_mask, 0.9)):
            mask.assign(np.where(random.random(mask.shape) < kept, above, 0.0))
    for mask in supernet.width_masks:
        mask.assign(np.where(random.random(mask.shape) < random.uniform(0.3, 1.0), above, 0.0))


def compared(config: Any, dataset: Any, count: int) -> list[dict[str, float]]:
    """Returns size, predicted and measured milliseconds of random architectures in the runtime of the settings.

    What is measured is as if the machine had the pace at which the table was made.
    """
    from hmnas_tf.exporters.timing import time_models
    from hmnas_tf.networks.cost import Masks
    from hmnas_tf.networks.count import MEASURES, Count
    from hmnas_tf.networks.latency import Latency
    from hmnas_tf.runs.latency import REFERENCE, at_pace, multiple_of, reference, searched, table_of
    from hmnas_tf.runs.opening import opened

    runtime, random, rows = config.latency_runtime, np.random.default_rng(config.seed), []
    workdir = path_of(FLAGS.workdir, "workdir") / runtime
    with opened(dataset, config, workdir, command_line.say) as run:
        supernet = run.new_supernet()
        costs = {name: Count(supernet, name) for name in MEASURES}
        table = table_of(run, supernet)
        costs["predicted"] = Latency(supernet, table, None, multiple_of(runtime))
        for start in range(0, count, AT_A_TIME):
            part, models = [], {REFERENCE: functools.partial(reference, runtime)}
            for number in range(start, min(start + AT_A_TIME, count)):
                draw(supernet, random)
                masks = Masks.of(supernet).exact()
                part.append({name: float(cost(masks)) for name, cost in costs.items()})
                models[str(number)] = functools.partial(lambda model: model, searched(run, supernet)())
            times = at_pace(time_models(runtime, models), table[REFERENCE])
            rows += [row | {"measured": times[str(start + own)]} for own, row in enumerate(part)]
            command_line.say(f"{runtime}: {counted(len(rows), 'architecture')} of {count} compared")
    return rows


def ranks(values: list[float]) -> np.ndarray:
    """Returns the place of each value in the order of all."""
    return np.argsort(np.argsort(values))


def tables(
    found: dict[str, list[dict[str, float]]], versions: dict[str, str], of: str
) -> dict[str, list[Any]]:
    """Returns the rows of the two tables, of what `compared` returns for each runtime."""
    summary, architectures = [], []
    for runtime, rows in found.items():
        predicted, measured = ([row[name] for row in rows] for name in ("predicted", "measured"))
        errors = np.abs(np.array(predicted) / np.array(measured) - 1.0)
        summary.append(
            {
                "runtime": versions[runtime],
                "processor": of,
                "architectures": len(rows),
                "measured, ms": f"{min(measured):.2f} to {max(measured):.2f}",
                "median error %": f"{100 * np.median(errors):.1f}",
                "largest error %": f"{100 * errors.max():.1f}",
                "rank correlation": f"{np.corrcoef(ranks(predicted), ranks(measured))[0, 1]:.3f}",
            }
        )
    for number, rows in enumerate(zip(*found.values(), strict=True)):
        row = {"architecture": number, "parameters": f"{rows[0]['parameters']:.0f}"}
        row["multiply-adds"] = f"{rows[0]['multiply_adds']:.0f}"
        for runtime, own in zip(found, rows, strict=True):
            row |= {f"{runtime}, {name}, ms": f"{own[name]:.3f}" for name in ("predicted", "measured")}
        architectures.append(row)
    return {"latency": summary, "architectures": architectures}


def main() -> None:
    """Measures and writes."""
    logging.set_verbosity(logging.WARNING)  # exporting tells of every file
    require_places(FLAGS.into, TABLES)
    config = command_line.settings()
    dataset = command_line.given(config)
    from hmnas_tf.exporters.timing import LATENCY_RUNTIMES, version_of
    from hmnas_tf.runs.processor import processor

    settings = {name: dataclasses.replace(config, latency_runtime=name) for name in LATENCY_RUNTIMES}
    found = {name: compared(each, dataset, FLAGS.architectures) for name, each in settings.items()}
    versions = {name: version_of(name) for name in LATENCY_RUNTIMES}
    publish(FLAGS.into, tables(found, versions, processor()))


if __name__ == "__main__":
    command_line.define_flags()
    flags.DEFINE_string("into", None, INTO)
    flags.DEFINE_integer("architectures", 30, "How many are compared.", lower_bound=2)
    start("latency_check", main, SPACE)
