"""Measures the speed of a search beside a supernet in PyTorch and writes the tables of docs/performance.md.

python tools/benchmark.py --into=docs/performance.md

Everything is measured in one run, in turn: a step of each kind, then again one of each. The numbers are medians,
the ratios those of medians. Each process is held to the same processor cores and as many threads.
"""

from __future__ import annotations

import functools
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
from benchmark_process import BATCHES, MATRIX, PARTIAL_CHANNELS, core_count
from measured_part import processor, publish, require_marks

from hmnas_tf import command_line
from hmnas_tf.console.interruptions import told
from hmnas_tf.console.paths import path_of
from hmnas_tf.storage import atomic

CASES = {  # name: channels C of the first cell, nodes, height and width, channels of an image, images of a batch
    "cifar": dict(channels=36, nodes=4, size=32, image_channels=3, batch=16),
    "fashion_mnist": dict(channels=16, nodes=4, size=28, image_channels=1, batch=32),
    "quickstart": dict(channels=8, nodes=4, size=8, image_channels=1, batch=64),
    "tiny": dict(channels=4, nodes=1, size=8, image_channels=1, batch=8),
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
    ("pytorch", "inference", "PyTorch: inference of the supernet", 1),
    ("derived", "inference", "inference, half of all operations", 0),
)
PRODUCT = ("product", "product")  # process and task
LONGEST_START = 600  # seconds

FLAGS = flags.FLAGS
flags.DEFINE_list(
    "cases", ["cifar", "fashion_mnist", "quickstart"], f"Sizes to measure, of {', '.join(CASES)}."
)
flags.DEFINE_list("threads", ["1", "2"], "Numbers of threads, each measured by itself.")
flags.DEFINE_integer("rounds", 7, "How often every step is timed.", lower_bound=1)
flags.DEFINE_integer(
    "compile_seconds", 0, "How long torch.compile may take to its first step; 0 leaves it out."
)
flags.DEFINE_string(
    "into", None, "Markdown file whose part between the two marks is replaced; none prints it."
)
flags.DEFINE_string("json", None, "File that gets all single times; none writes none.")


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
        cores = sorted(os.sched_getaffinity(0))[:threads]
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
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
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
    compiled = ""
    if compile_seconds:
        try:
            processes["pytorch compiled"] = Process("pytorch compiled", case, threads, compile_seconds)
            tasks.append(("pytorch compiled", "search"))
            compiled = "measured"
        except TimeoutError:
            compiled = f"no first step within {compile_seconds} s"
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


def table(name: str, found: dict[str, Any]) -> list[str]:
    """Returns the lines of one size with one number of threads."""
    medians = {key: statistics.median(t["wall"] for t in rows) for key, rows in found["times"].items()}
    busy = {
        key: statistics.median(t["cpu"] / t["wall"] for t in rows) for key, rows in found["times"].items()
    }
    case, built = found["case"], found["built"]["search"]
    ceiling = 2 * MATRIX**3 / medians["/".join(PRODUCT)] / 1e9
    flops = 2 * built["multiply_adds"] * case["batch"]
    lines = [
        f"### {name}: C = {case['channels']}, {case['size']}x{case['size']}x{case['image_channels']}, batch "
        f"{case['batch']}, {found['threads']} thread(s)",
        "",
        f"3 cells of {case['nodes']} nodes, {built['parameters']:,} weights, {flops / 1e9:.1f} GFLOP forward a batch. "
        f"Product of two float32 matrices of {MATRIX} rows: {ceiling:.0f} GFLOP/s.",
        "",
        "| step | ms | least, most | cores busy | against PyTorch | GFLOP/s | of the product's |",
        "|---|---|---|---|---|---|---|",
    ]
    rows = list(STEPS)
    if "pytorch compiled/search" in medians:
        rows.insert(1, ("pytorch compiled", "search", "PyTorch: search step, compiled", 5))
    for kind, task, title, passes in rows:
        key = f"{kind}/{task}"
        walls = [1e3 * t["wall"] for t in found["times"][key]]
        ratio = medians.get(f"pytorch/{task}", 0.0) / medians[key]
        speed = passes * flops / medians[key] / 1e9
        lines.append(
            f"| {title} | {1e3 * medians[key]:.1f} | {min(walls):.1f}, {max(walls):.1f} | {busy[key]:.2f} | "
            f"{f'{ratio:.2f}' if ratio else ''} | {f'{speed:.1f}' if passes else ''} | "
            f"{f'{100 * speed / ceiling:.0f} %' if passes else ''} |"
        )
    lines += [
        "",
        "| process | start to first step, s | nodes of its graphs | most memory, GB |",
        "|---|---|---|---|",
    ]
    timed = {key.split("/")[1] for key in found["times"]}
    for kind, seconds in found["start_seconds"].items():
        if kind == PRODUCT[0]:
            continue
        nodes = [f"{task} {count:,}" for task, count in found["built"][kind].items() if task in timed]
        lines.append(f"| {kind} | {seconds:.1f} | {', '.join(nodes)} | {found['peak'][kind] / 1e9:.2f} |")
    if found["compiled"]:
        lines += ["", f"torch.compile: {found['compiled']}."]
    return [*lines, ""]


def main(argv: list[str]) -> None:
    """Measures and writes."""
    if len(argv) > 1:
        raise app.UsageError(f"{argv[1]!r} is no flag.")
    unknown = [name for name in FLAGS.cases if name not in CASES]
    if unknown or not FLAGS.cases:
        raise app.UsageError(f"--cases={','.join(FLAGS.cases)}: choose some of {', '.join(CASES)}.")
    cores = core_count()
    if not all(number.isdecimal() and 1 <= int(number) <= cores for number in FLAGS.threads):
        raise app.UsageError(
            f"--threads={','.join(FLAGS.threads)}: expected numbers from 1 to {cores}, the cores here."
        )
    require_marks(FLAGS.into)
    found = [
        (name, measured(CASES[name], int(number), FLAGS.rounds, FLAGS.compile_seconds))
        for name in FLAGS.cases
        for number in FLAGS.threads
    ]
    lines = [f"{processor()}, {cores} cores; medians of {FLAGS.rounds} rounds.", ""]
    lines += [line for name, result in found for line in table(name, result)]
    if FLAGS.json:
        atomic.write_json(path_of(FLAGS.json, "json"), [{"name": name, **result} for name, result in found])
    publish(FLAGS.into, lines[:-1])


if __name__ == "__main__":
    try:
        with told(functools.partial(command_line.complain, "benchmark"), "Start it again."):
            app.run(main)
    except (ValueError, OSError, RuntimeError) as error:
        command_line.fail("benchmark", error)
