"""Says whether two runs of `hmnas_tf.search` are the same to the last bit: `python tools/compare_runs.py RUN RUN`.

Compared are every variable after every stage, metrics.csv, architecture.jsonl, genotype.json and results.json; left out
is what may differ between equal runs: seconds, sizes of files that hold a date, versions, machine, commit. Exit code 0:
equal; 1: not, with what differs in one line; 2: there is nothing to compare.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hmnas_tf.console.paths import path_of
from hmnas_tf.storage.variables_file import read_arrays

FREE = {  # keys at any depth; the files of artifacts hold dates and names of temporary places
    *("bytes", "git_commit", "gzip_bytes", "machine", "measured_ms", "seconds", "sha256", "versions")
}
TEXTS = ("genotype.json", "architecture.jsonl")  # compared as they are
SHOWN = 3  # differences of one file that are named


def compare(first: Path, second: Path) -> tuple[list[str], str]:
    """Returns what differs between two run folders, and what was compared, in words.

    Raises:
        ValueError: if one of them holds no run, or a file of variables cannot be read.
    """
    for folder in (first, second):
        if not (folder / "results.json").is_file():
            raise ValueError(
                f"{str(folder)!r} holds no run, there is no results.json: name two --workdirs of a search"
            )
    differing: list[str] = []
    stages = [sorted(path.name for path in (run / "checkpoints").glob("*.npz")) for run in (first, second)]
    if stages[0] != stages[1]:
        differing.append(f"stages that are finished: {stages[0]} and {stages[1]}")
    variables = 0
    for name in sorted(set(stages[0]) & set(stages[1])):
        pair = [read_arrays(run / "checkpoints" / name) for run in (first, second)]
        variables += len(pair[0])
        differing += _some(f"checkpoints/{name}", _of_variables(*pair))
    for name in TEXTS:
        texts = [(run / name).read_bytes() if (run / name).exists() else b"" for run in (first, second)]
        if texts[0] != texts[1]:
            differing.append(name)
    rows = [_rows(run / "metrics.csv") for run in (first, second)]
    differing += _some("metrics.csv", _of_rows(*rows))
    results = [json.loads((run / "results.json").read_text(encoding="utf-8")) for run in (first, second)]
    differing += _some("results.json", _of_values("", *results))
    return differing, f"{len(stages[0])} stages, {variables:,} variables, {len(rows[0])} epochs"


def _some(place: str, found: Iterator[str]) -> list[str]:
    words = list(found)
    more = f" and {len(words) - SHOWN} more" if len(words) > SHOWN else ""
    return [f"{place}: {', '.join(words[:SHOWN])}{more}"] if words else []


def _of_variables(first: list[np.ndarray], second: list[np.ndarray]) -> Iterator[str]:
    if len(first) != len(second):
        yield f"{len(first)} and {len(second)} variables"
    for number, (a, b) in enumerate(zip(first, second, strict=False)):
        if a.shape != b.shape or a.dtype != b.dtype:
            yield f"variable {number} is {a.dtype}{list(a.shape)} and {b.dtype}{list(b.shape)}"
        elif a.tobytes() != b.tobytes():
            largest = np.max(np.abs(a.astype(np.float64) - b.astype(np.float64)))
            yield f"variable {number} by up to {largest:.3g}"


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [{k: v for k, v in row.items() if k not in FREE} for row in csv.DictReader(file)]


def _of_rows(first: list[dict[str, str]], second: list[dict[str, str]]) -> Iterator[str]:
    if len(first) != len(second):
        yield f"{len(first)} and {len(second)} rows"
    for a, b in zip(first, second, strict=False):
        names = [name for name in a | b if a.get(name, "") != b.get(name, "")]
        if names:
            yield f"{', '.join(names)} of {a['stage']} epoch {a['epoch']}"


def _of_values(place: str, first: Any, second: Any) -> Iterator[str]:
    if isinstance(first, dict) and isinstance(second, dict):
        for key in [key for key in first | second if key not in FREE]:
            yield from _of_values(f"{place}.{key}".lstrip("."), first.get(key), second.get(key))
    elif first != second:
        yield place


def main(arguments: list[str]) -> int:
    """Compares two runs; returns the exit code."""
    if len(arguments) != 2:
        print("compare_runs: expected two run folders: python tools/compare_runs.py RUN RUN", file=sys.stderr)
        return 2
    try:
        differing, compared = compare(*map(path_of, arguments))
    except (ValueError, OSError) as error:
        print(f"compare_runs: {error}", file=sys.stderr)
        return 2
    names = f"{arguments[0]} and {arguments[1]}"
    print(f"{names} differ: {'; '.join(differing)}" if differing else f"{names} are equal: {compared}")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
