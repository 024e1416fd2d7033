"""Callbacks that observe a stage: test error, what survives, one line and one row an epoch."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from hmnas_tf import atomic
from hmnas_tf.networks.supernet import Supernet

COLUMNS = (
    "stage",
    "epoch",
    "loss",
    "error",
    "test_error",
    "learning_rate",
    "architecture_loss",
    "architecture_steps",
    "operations",
    "edges",
    "weight_density",
    "seconds",
)


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


class Survivors(keras.callbacks.Callback):
    """Adds the numbers of surviving `operations` and `edges` and the `weight_density` to the logs.

    Args:
        supernet: whose masks are searched.
    """

    def __init__(self, supernet: Supernet):
        super().__init__()
        self.supernet = supernet

    def on_epoch_end(self, epoch, logs=None):
        gates = [keras.ops.convert_to_numpy(encoding.gates()) for encoding in self.supernet.encodings]
        logs["operations"] = int(sum(g.sum() for g in gates))
        logs["edges"] = int(sum(g.any(axis=1).sum() for g in gates))
        masks = [convolution.binary_mask() for convolution in self.supernet.masked_convolutions]
        logs["weight_density"] = float(sum(m.sum() for m in masks) / sum(m.size for m in masks))


class EpochTelemetry(keras.callbacks.Callback):
    """Writes one row of `metrics.csv` and says one line for each epoch; rows of a repeated epoch are replaced.

    Args:
        name: of the stage, in words.
        epochs: of the stage.
        steps_per_epoch: batches an epoch; an epoch stopped within gets no row.
        path: of the CSV file, shared by all stages.
        say: shows a line to the user.
    """

    def __init__(self, name: str, epochs: int, steps_per_epoch: int, path: Path, say: Callable[[str], None]):
        super().__init__()
        self.name = name
        self.epochs = epochs
        self.steps_per_epoch = steps_per_epoch
        self.path = path
        self.say = say

    def on_epoch_begin(self, epoch, logs=None):
        self._started = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        if int(self.model.optimizer.iterations.numpy()) % self.steps_per_epoch:
            return
        rate = float(np.asarray(self.model.optimizer.learning_rate))
        seconds = time.monotonic() - self._started
        row = {"stage": self.name, "epoch": epoch + 1, "learning_rate": rate, "seconds": seconds} | (
            logs or {}
        )
        write_row(self.path, row)
        self.say(_line(self.name, epoch + 1, self.epochs, row))


def _line(name: str, epoch: int, epochs: int, row: dict[str, Any]) -> str:
    parts = [
        f"{name:17s} epoch {epoch:3d}/{epochs}",
        f"loss {row['loss']:.4f}",
        f"train error {row['error']:5.2f} %",
    ]
    if "test_error" in row:
        parts.append(f"test error {row['test_error']:5.2f} %")
    if "operations" in row:
        parts.append(
            f"{row['operations']} operations, {row['edges']} edges, {100 * row['weight_density']:.1f} % weights"
        )
    return "  ".join([*parts, f"{row['seconds']:.1f} s"])


def read_rows(path: Path) -> list[dict[str, str]]:
    """Returns the rows of a metrics file, [] if there is none."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


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
