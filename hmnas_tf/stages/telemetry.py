"""Callbacks that observe a stage: test error, one line and one row an epoch."""

from __future__ import annotations

import csv
import io
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from hmnas_tf.console.progress import Progress, Say, counted, silent, time_left
from hmnas_tf.storage import atomic

COLUMNS = (  # those of the architecture are explained in `architecture_telemetry`
    "stage",
    "epoch",
    "loss",
    "error",
    "test_error",
    "learning_rate",
    "architecture_loss",
    "architecture_steps",
    "operation_entropy",
    "edge_entropy",
    "parameterless_share",
    "strongest",
    "operations",
    "edges",
    "weight_density",
    "architecture_margin_min",
    "architecture_margin_mean",
    "weight_margin_min",
    "weight_margin_mean",
    "parameters_cost",
    "parameters_bound",
    "parameters_multiplier",
    "multiply_adds_cost",
    "multiply_adds_bound",
    "multiply_adds_multiplier",
    "seconds",
)
# Before the names of operations in the logs. These are numbers, one an operation, because Keras' own callbacks read the
# same logs; the row has them in one column.
STRONGEST = "strongest/"
WITHIN_EPOCH = 60.0  # seconds between two lines of the steps of one epoch


class TestError(keras.callbacks.Callback):
    """Adds `test_error` to the logs every few epochs.

    Args:
        measure: returns the test error in percent.
        every: epochs; 0 is never.
    """

    def __init__(self, measure: Callable[[], float], every: int):
        super().__init__()
        self.measure = measure
        self.every = every

    def on_epoch_end(self, epoch, logs=None):
        if self.every and (epoch + 1) % self.every == 0:
            logs["test_error"] = self.measure()


class EpochTelemetry(keras.callbacks.Callback):
    """Writes one row of `metrics.csv` and says one line for each epoch; rows of a repeated epoch are replaced.

    The line ends with the time that the rest of the stage will take, judged by the epochs of this process; after the
    first, whose first step also builds the graph, by its other steps.

    Args:
        name: of the stage, in words.
        epochs: of the stage.
        steps_per_epoch: batches an epoch; an epoch stopped within gets no row.
        path: of the CSV file, shared by all stages.
        say: shows a line to the user.
        say_steps: shows a line within a long epoch; `silent` where a progress bar does it.
    """

    def __init__(
        self,
        name: str,
        epochs: int,
        steps_per_epoch: int,
        path: Path,
        say: Say,
        say_steps: Say = silent,
    ):
        super().__init__()
        self.name = name
        self.epochs = epochs
        self.steps_per_epoch = steps_per_epoch
        self.path = path
        self.say = say
        self.say_steps = say_steps
        self._durations: list[float] = []  # of the epochs of this process, in seconds

    def on_epoch_begin(self, epoch, logs=None):
        self._started = time.monotonic()
        self._first_end = self._last_end = self._started
        self._counted = 0  # steps
        # After a restart within an epoch only the rest of it is counted.
        steps = (self.params or {}).get("steps") or self.steps_per_epoch
        what = f"{self.name} epoch {epoch + 1}/{self.epochs}, steps"
        self._steps = Progress(self.say_steps, what, steps, every=WITHIN_EPOCH)

    def on_train_batch_end(self, batch, logs=None):
        self._last_end = time.monotonic()
        if not self._counted:
            self._first_end = self._last_end
        self._counted += 1
        self._steps.done(batch + 1)

    def on_epoch_end(self, epoch, logs=None):
        if int(self.model.optimizer.iterations.numpy()) % self.steps_per_epoch:
            return
        rate = float(np.asarray(self.model.optimizer.learning_rate))
        seconds = time.monotonic() - self._started
        row = {"stage": self.name, "epoch": epoch + 1, "learning_rate": rate, "seconds": seconds} | (
            logs or {}
        )
        row["strongest"] = _strongest(row)
        write_row(self.path, row)
        self._durations.append(seconds)
        usual = statistics.median(self._durations[1:] or [self._without_building()])
        rest = usual * (self.epochs - epoch - 1)
        line = _line(self.name, epoch + 1, self.epochs, row)
        self.say(f"{line}, {time_left(rest)}" if rest else line)

    def _without_building(self) -> float:
        """Returns what the first epoch would have taken with its graph built, 0 if its steps were too few to tell."""
        if self._counted < 2:
            return 0.0
        return self.steps_per_epoch * (self._last_end - self._first_end) / (self._counted - 1)


def _strongest(logs: dict[str, Any]) -> str:
    """Returns the counts of strongest operations, most frequent first: `identity:9 sep_conv_3x3:5`; "" if none."""
    counts = [
        (key.removeprefix(STRONGEST), count) for key, count in logs.items() if key.startswith(STRONGEST)
    ]
    return " ".join(f"{name}:{count}" for name, count in sorted(counts, key=lambda c: -c[1]) if count)


def _line(name: str, epoch: int, epochs: int, row: dict[str, Any]) -> str:
    parts = [
        f"{name:17s} epoch {epoch:3d}/{epochs}",
        f"loss {row['loss']:.4f}",
        f"train error {row['error']:5.2f} %",
    ]
    if "test_error" in row:
        parts.append(f"test error {row['test_error']:5.2f} %")
    if "parameterless_share" in row:
        parts.append(f"operation entropy {row['operation_entropy']:.3f}")
        parts.append(f"{100 * row['parameterless_share']:.0f} % of edges parameterless")
    for name in ("parameters", "multiply_adds"):
        if f"{name}_cost" in row:
            cost, bound = (f"{row[f'{name}_{of}']:,.0f}" for of in ("cost", "bound"))
            parts.append(f"{cost} of {bound} {name.replace('_', '-')}")
    if "operations" in row:
        survivors = f"{counted(row['operations'], 'operation')}, {counted(row['edges'], 'edge')}"
        parts.append(f"{survivors}, {100 * row['weight_density']:.1f} % weights")
    return "  ".join([*parts, f"{row['seconds']:.1f} s"])


def read_rows(path: Path, counted: str = "epoch") -> list[dict[str, str]]:
    """Returns the rows of a metrics file, [] if there is none.

    Args:
        path: of the file.
        counted: a column that has a whole number in each row.

    Raises:
        ValueError: if a line lacks that number, has not as many values as the first one names, or was cut off.
    """
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        lines = list(file)
    rows = list(csv.DictReader(lines))
    for number, row in enumerate(rows, 2):
        cut = number == len(rows) + 1 and not lines[-1].endswith(("\n", "\r"))
        if cut or None in row or None in row.values() or not (row.get(counted) or "").isdecimal():
            raise ValueError(
                f"{path}: line {number} is not what a run writes there: mend it, or remove the file."
            )
    return rows


def write_row(path: Path, row: dict[str, Any]) -> None:
    """Adds a row to a metrics file, atomically, in place of an earlier one of the same stage and epoch or later."""
    rows = [
        old
        for old in read_rows(path)
        if old["stage"] != row["stage"] or int(old["epoch"]) < int(row["epoch"])
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows([*rows, {key: _short(value) for key, value in row.items()}])
    atomic.write_text(path, text.getvalue())


def _short(value: Any) -> Any:
    return (
        f"{float(value):.6g}" if isinstance(value, float | np.floating) or hasattr(value, "numpy") else value
    )
