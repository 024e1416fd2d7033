"""Measures the speed of a search beside a supernet in PyTorch: docs/performance_*.csv and the page's tables of them.

python tools/benchmark.py --into=docs/performance.md

Everything is measured in one run, in turn: a step of each kind, then again one of each. The numbers are medians,
the ratios those of medians. Each process is held to the same processor cores and as many threads.
"""

from __future__ import annotations

import json
import os
import queue
import statistics
import subprocess
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from absl import app, flags
from benchmark_process import BATCHES, MATRIX, PARTIAL_CHANNELS
from measured_tables import INTO, publish, require_places, start

from hmnas_tf.console.cores import cores
from hmnas_tf.console.paths import path_of
from hmnas_tf.runs.processor import processor
from hmnas_tf.storage import atomic

CASES = {  # name: channels C of the first cell, nodes, height and width, channels of an image, images of a batch
    "cifar": dict(channels=36, nodes=4, size=32, image_channels=3, batch=16),
    "fashion_mnist": dict(channels=16, nodes=4, size=28, image_channels=1, batch=32),
    "quickstart": dict(channels=8, nodes=4, size=8, image_channels=1, batch=64),
    # Not narrower: with 4 channels PyTorch 2.13 aborts in oneDNN on one thread of some processors without AVX-512.
    "tiny": dict(channels=8, nodes=1, size=8, image_channels=1, batch=8),
}
STEPS = (  # process, task, title, passes: forward, back to the inputs, to the kernels, of each of its batches
    ("pytorch", "search", "PyTorch: search step", 5),
    ("search", "search", "search step: architecture and weights", 5),
    ("search", "weights", "the same without an architecture step", 3),
    ("pytorch", "weights", "PyTorch: the same without an architecture step", 3),
    ("search", "half", "two steps, one of them with an architecture step", 8),
    ("pytorch", "half", "PyTorch: two steps, one of them with an architecture step", 8),
    ("search", "pipeline", f"input pipeline: {BATCHES} augmented batches, and nothing else", 0),
    ("recompute", "search", "search step with --recompute", 5),
    ("partial", "search", f"search step with --partial_channels={PARTIAL_CHANNELS}", 0),
    ("mask", "mask", "step of mask search", 3),
    ("pruned", "mask", "step of mask search, half of all operations gone", 0),
    ("derived", "finetune", "fine-tuning step, half of all operations", 0),
    ("resnet8", "finetune", "fine-tuning step, ResNet-8 with as many multiply-adds", 0),
    ("mobilenet", "finetune", "fine-tuning step, inverted residuals with as many", 0),
    ("pytorch", "inference", "PyTorch: inference of the supernet", 1),
    ("derived", "inference", "inference, half of all operations", 0),
    ("resnet8", "inference", "inference, ResNet-8 with as many multiply-adds", 0),
    ("mobilenet", "inference", "inference, inverted residuals with as many", 0),
)
PRODUCT = ("product", "product")  # process and task
STEP_COLUMNS = ("ms", "least", "most", "cores busy", "against PyTorch", "GFLOP/s", "of the product's %")
TABLES = ("conditions", "sizes", "steps", "processes")
LONGEST_START = 600  # seconds

FLAGS = flags.FLAGS


class Process:
    """A process of tools/benchmark_process.py, waiting for the names of tasks.

    Args:
        kind: key of its `KINDS`.
        case: value of `CASES`.
        threads: number of threads and processor cores.
        seconds: that it may take to its first step.

    Raises:
        TimeoutError: if it took longer.
        RuntimeError: if it ended by itself.
    """

    def __init__(self, kind: str, case: dict[str, int], threads: int, seconds: float):
        own = sorted(os.sched_getaffinity(0))[:threads]
        program = Path(__file__).with_name("benchmark_process.py")
        settings = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        begin = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, str(program), kind, json.dumps(case)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | settings,
            preexec_fn=lambda: os.sched_setaffinity(0, own),
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        try:
            self._answer(seconds)
        except TimeoutError:
            self._process.kill()
            raise
        self.start_seconds = time.monotonic() - begin
        self.built = self._answer(LONGEST_START)

    def _read(self) -> None:
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def _answer(self, seconds: float) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty as error:
            raise TimeoutError(f"no answer in {seconds} s") from error
        if not line:
            raise RuntimeError(f"{self._process.args[2]}: the process ended by itself")
        return json.loads(line)

    def step(self, task: str) -> dict[str, float]:
        """Returns the seconds of one step."""
        self._process.stdin.write(f"{task}\n")
        self._process.stdin.flush()
        return self._answer(LONGEST_START)

    def peak(self) -> int:
        """Ends the process and returns the most memory it had, in bytes."""
        self._process.stdin.close()
        peak = self._answer(LONGEST_START)["peak"]
        self._process.wait()
        return peak


def measured(case: dict[str, int], threads: int, rounds: int, compile_seconds: int) -> dict[str, Any]:
    """Returns all single times, after a round that does not count, of one size with one number of threads."""
    tasks = [(kind, task) for kind, task, *_ in STEPS] + [PRODUCT]
    kinds = list(dict.fromkeys(kind for kind, _ in tasks))
    processes = {kind: Process(kind, case, threads, LONGEST_START) for kind in kinds}
    compiled = None  # what is to be said of it
    if compile_seconds:
        compiled = ""
        try:
            processes["pytorch compiled"] = Process("pytorch compiled", case, threads, compile_seconds)
            tasks.append(("pytorch compiled", "search"))
        except TimeoutError:
            compiled = f": no first step within {compile_seconds} s"
    times: dict[str, list] = defaultdict(list)
    for counts in [False] + [True] * rounds:
        for kind, task in tasks:
            seconds = processes[kind].step(task)
            if counts:
                times[f"{kind}/{task}"].append(seconds)
    return {
        "threads": threads,
        "case": case,
        "compiled": compiled,
        "times": times,
        "start_seconds": {kind: process.start_seconds for kind, process in processes.items()},
        "built": {kind: process.built for kind, process in processes.items()},
        "peak": {kind: process.peak() for kind, process in processes.items()},
    }


def rows_of_steps(size: str, found: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns a row for each step of one size with one number of threads."""
    times = {key: [t["wall"] for t in steps] for key, steps in found["times"].items()}
    medians = {key: statistics.median(walls) for key, walls in times.items()}
    flops = flops_of(found)
    steps = list(STEPS)
    if found["compiled"] is not None:
        steps.insert(
            1, ("pytorch compiled", "search", f"PyTorch: search step, compiled{found['compiled']}", 5)
        )
    rows = []
    for kind, task, title, passes in steps:
        row = {"size": size, "threads": found["threads"], "step": title} | dict.fromkeys(STEP_COLUMNS, "")
        key = f"{kind}/{task}"
        if key in times:
            busy = statistics.median(t["cpu"] / t["wall"] for t in found["times"][key])
            ends = {"least": min(times[key]), "most": max(times[key])}
            row |= {"ms": f"{1e3 * medians[key]:.1f}", "cores busy": f"{busy:.2f}"}
            row |= {end: f"{1e3 * seconds:.1f}" for end, seconds in ends.items()}
            if f"pytorch/{task}" in medians:
                row["against PyTorch"] = f"{medians[f'pytorch/{task}'] / medians[key]:.2f}"
            if passes:
                speed = passes * flops / medians[key] / 1e9
                row |= {
                    "GFLOP/s": f"{speed:.1f}",
                    "of the product's %": f"{100 * speed / ceiling_of(found):.0f}",
                }
        rows.append(row)
    return rows


def flops_of(found: dict[str, Any]) -> float:
    """Returns what a forward pass of a batch needs at least, two operations a multiply-add."""
    return 2 * found["built"]["search"]["multiply_adds"] * found["case"]["batch"]


def ceiling_of(found: dict[str, Any]) -> float:
    """Returns the GFLOP/s of a product of matrices."""
    seconds = [t["wall"] for t in found["times"]["/".join(PRODUCT)]]
    return 2 * MATRIX**3 / statistics.median(seconds) / 1e9


def row_of_size(size: str, found: dict[str, Any]) -> dict[str, Any]:
    """Returns what is computed: one size with one number of threads."""
    case = found["case"]
    return {
        "size": size,
        "threads": found["threads"],
        "C": case["channels"],
        "image": f"{case['size']}x{case['size']}x{case['image_channels']}",
        "batch": case["batch"],
        "nodes": case["nodes"],
        "weights": found["built"]["search"]["parameters"],
        "GFLOP forward a batch": f"{flops_of(found) / 1e9:.1f}",
        "GFLOP/s of the product": f"{ceiling_of(found):.0f}",
    }


def rows_of_processes(size: str, found: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns a row for each process of one size with one number of threads."""
    timed = {key.split("/")[1] for key in found["times"]}
    rows = []
    for kind, seconds in found["start_seconds"].items():
        if kind != PRODUCT[0]:
            nodes = {task: count for task, count in found["built"][kind].items() if task in timed}
            rows.append(
                {
                    "size": size,
                    "threads": found["threads"],
                    "process": kind,
                    "start to first step, s": f"{seconds:.1f}",
                    "nodes of a step's graph": sum(nodes.values()) - nodes.get("inference", 0) or "",
                    "of inference": nodes.get("inference", ""),
                    "most memory, GB": f"{found['peak'][kind] / 1e9:.2f}",
                }
            )
    return rows


def main() -> None:
    """Measures and writes."""
    unknown = [name for name in FLAGS.cases if name not in CASES]
    if unknown or not FLAGS.cases:
        raise app.UsageError(f"--cases={','.join(FLAGS.cases)}: choose some of {', '.join(CASES)}.")
    most = cores()
    if not all(number.isdecimal() and 1 <= int(number) <= most for number in FLAGS.threads):
        raise app.UsageError(
            f"--threads={','.join(FLAGS.threads)}: expected numbers from 1 to {most}, the cores here."
        )
    require_places(FLAGS.into, TABLES)
    found = [
        (name, measured(CASES[name], int(number), FLAGS.rounds, FLAGS.compile_seconds))
        for name in FLAGS.cases
        for number in FLAGS.threads
    ]
    tables = {
        "conditions": [{"processor": processor(), "cores": most, "rounds": FLAGS.rounds}],
        "sizes": [row_of_size(name, result) for name, result in found],
        "steps": [row for name, result in found for row in rows_of_steps(name, result)],
        "processes": [row for name, result in found for row in rows_of_processes(name, result)],
    }
    if FLAGS.json:
        atomic.write_json(path_of(FLAGS.json, "json"), [{"name": name, **result} for name, result in found])
    publish(FLAGS.into, tables)


if __name__ == "__main__":
    flags.DEFINE_list(
        "cases", ["cifar", "fashion_mnist", "quickstart"], f"Sizes to measure, of {', '.join(CASES)}."
    )
    flags.DEFINE_list("threads", ["1", "2"], "Numbers of threads, each measured by itself.")
    flags.DEFINE_integer("rounds", 7, "How often every step is timed.", lower_bound=1)
    flags.DEFINE_integer(
        "compile_seconds", 0, "How long torch.compile may take to its first step; 0 leaves it out."
    )
    flags.DEFINE_string("into", None, INTO)
    flags.DEFINE_string("json", None, "File that gets all single times; none writes none.")
    start("benchmark", main)
