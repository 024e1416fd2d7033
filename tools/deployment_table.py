"""Measures every artifact of a finished run and writes docs/deployment_*.csv and the page's tables of them.

python tools/deployment_table.py --workdir=runs/quickstart --into=docs/deployment.md
python tools/deployment_table.py --workdir=runs/quickstart --into=docs/deployment.md --tables=memory

Each artifact runs in its own runtime in a process of its own, one after the other, all of them in every round; times
are medians over rounds, ratios are to the unfolded Keras model of the same run. All processes share one CPU core.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import keras
from absl import flags
from measured_tables import INTO, publish, require_places, start

from hmnas_tf.commands import recorded
from hmnas_tf.console.names import require_known
from hmnas_tf.console.paths import path_of
from hmnas_tf.data import ImageDataset
from hmnas_tf.exporters import artifacts, clean_process, micro
from hmnas_tf.exporters.formats import EXPORTERS
from hmnas_tf.exporters.timing import LATENCY_RUNTIMES
from hmnas_tf.networks.counting import size_of
from hmnas_tf.networks.handmade import HAND_MADE, of_size
from hmnas_tf.runs.latency import time_networks
from hmnas_tf.runs.processor import processor
from hmnas_tf.runs.publication import artifact_path, exported, network_of
from hmnas_tf.storage.run_folder import RunFolder

FLAGS = flags.FLAGS
TIMED = ("conditions", "networks", "artifacts", "rivals")
TABLES = (*TIMED, "memory")


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


def beside(folder: RunFolder) -> dict[str, keras.Model]:
    """Returns a run's network and those made by hand that have as many multiply-adds at most."""
    model = keras.models.load_model(artifact_path(folder.path, folder.results, "keras"), compile=False)
    most = folder.results["derived"]["flops"]
    shape, classes = model.inputs[0].shape[1:], model.outputs[0].shape[-1]
    by_hand = {name: of_size(name, shape, classes, {"flops": most}) for name in HAND_MADE}
    return {"searched": model, **by_hand}


def memory(folder: RunFolder, dataset: ImageDataset) -> list[dict[str, Any]]:
    """Returns the memory of the networks of `beside`, on a microcontroller too; nothing of it depends on training."""
    rows = []
    for name, model in beside(folder).items():
        network = network_of(folder, dataset, model)
        with tempfile.TemporaryDirectory() as place:
            facts = micro.write_model(network.cargo("folded"), Path(place))
        size = size_of(network.folded)
        rows.append(
            {
                "network": name,
                "parameters": size["params"],
                "multiply-adds": size["flops"],
                "activations of 32 bits, bytes": network.memory_bytes("litert"),
                "of 8 bits, bytes": network.memory_bytes("micro"),
                "arena, bytes": facts["arena_bytes"],
                "of it tensors": facts["activations"],
                "of it notes": facts["persistent"],
                "flash, bytes": facts["flash_bytes"],
                "operators": sum(operator["count"] for operator in facts["operators"]),
            }
        )
    return rows


def rivals(folder: RunFolder) -> list[dict[str, Any]]:
    """Returns the milliseconds of a run's network and of those made by hand that have as many multiply-adds at most.

    One image on one thread of each runtime, which runs all of them in turn; medians over its rounds.
    """
    networks = beside(folder)
    sizes = {name: size_of(network) for name, network in networks.items()}
    rows = {
        name: {"network": name, "parameters": size["params"], "multiply-adds": size["flops"]}
        for name, size in sizes.items()
    }
    for runtime in LATENCY_RUNTIMES:
        milliseconds = time_networks(runtime, networks)
        for name, row in rows.items():
            own = milliseconds[name]
            row |= {
                f"{runtime}, ms": f"{own:.3f}",
                f"{runtime}, ratio": f"{own / milliseconds['searched']:.2f}",
            }
    return list(rows.values())


def tables(
    results: dict[str, Any], times: dict[str, tuple[float, float]], rounds: int
) -> dict[str, list[dict[str, Any]]]:
    """Returns the rows of the first three tables.

    Args:
        results: of the run.
        times: as `measured` returns them.
        rounds: of which the times are medians.
    """
    derived, found = results["derived"], results["artifacts"]
    conditions = {"data set": results["dataset"]["name"], "test images": results["dataset"]["test_examples"]}
    conditions |= {"processor": processor(), "cores": 1, "TensorFlow": results["versions"]["tensorflow"]}
    sizes = [("trained", derived["params_dense"], derived, "keras")]
    sizes.append(("folded", derived["folded"]["params"], derived["folded"], "keras_folded"))
    return {
        "conditions": [conditions | {"rounds": rounds}],
        "networks": [
            {
                "network": title,
                "parameters": dense,
                "not 0": size["params_nonzero"],
                "multiply-adds": size["flops"],
                "`.keras`, bytes": found[name]["bytes"],
                "gzip, bytes": found[name]["gzip_bytes"],
            }
            for title, dense, size, name in sizes
        ],
        "artifacts": [_row(artifact, times[name], times["keras"]) for name, artifact in found.items()],
    }


def _row(
    artifact: dict[str, Any], times: tuple[float, float], reference: tuple[float, float]
) -> dict[str, Any]:
    row = {
        "artifact": f"`{artifact['path'].removeprefix('model/')}`",
        "bytes": artifact["bytes"],
        "gzip, bytes": artifact["gzip_bytes"],
        "relative difference": f"{artifact['relative_difference']:.1e}",
        "test error %": f"{artifact['test_error']:.2f}",
    }
    for size, ms, base in zip((1, 32), times, reference, strict=True):
        row |= {f"batch of {size}, ms": f"{ms:.2f}", f"ratio of {size}": f"{ms / base:.3f}"}
    return row


def main() -> None:
    """Measures and writes."""
    workdir = path_of(FLAGS.workdir, "workdir")
    require_known("tables", FLAGS.tables, TABLES)
    require_places(FLAGS.into, FLAGS.tables)
    dataset, folder = recorded.opened(workdir)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    found: dict[str, list[dict[str, Any]]] = {}
    if set(TIMED) & set(FLAGS.tables):
        with artifacts.stored(dataset.x_test[:64]) as pixels:
            times = measured(folder, pixels, FLAGS.rounds)
        found = tables(folder.results, times, FLAGS.rounds) | {"rivals": rivals(folder)}
    if "memory" in FLAGS.tables:
        found["memory"] = memory(folder, dataset)
    publish(FLAGS.into, {name: found[name] for name in FLAGS.tables})


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "Run folder of a finished search.", required=True)
    flags.DEFINE_string("into", None, INTO)
    flags.DEFINE_list("tables", list(TABLES), f"Comma list of the tables to make: {', '.join(TABLES)}.")
    flags.DEFINE_integer("rounds", 5, "How often each artifact is run.", lower_bound=1)
    start("deployment_table", main)
