"""Callback that writes down what the architecture is after every epoch in which it is searched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras

from hmnas_tf.networks.supernet import Supernet
from hmnas_tf.storage import atomic

DIGITS = 6  # of an importance, after the point


class ArchitectureHistory(keras.callbacks.Callback):
    """Writes one line of `architecture.jsonl` for each epoch; lines of a repeated epoch are replaced.

    A line is `{"stage": ..., "epoch": ..., "groups": [...]}` with one entry for each group of cells that share alpha
    and beta: `cells`, their indices; `operation_importance` [edges, operations] and `edge_importance` [edges], after
    the softmax and before masking; `gates` [edges, operations], 1 for what takes part.

    Args:
        supernet: whose architecture is searched; only read.
        stage: its name, in words.
        steps_per_epoch: batches an epoch; an epoch stopped within gets no line.
        path: of the file, shared by all stages.
    """

    def __init__(self, supernet: Supernet, stage: str, steps_per_epoch: int, path: Path):
        super().__init__()
        self.supernet = supernet
        self.stage = stage
        self.steps_per_epoch = steps_per_epoch
        self.path = path

    def on_epoch_end(self, epoch, logs=None):
        if int(self.model.optimizer.iterations.numpy()) % self.steps_per_epoch:
            return
        line = {"stage": self.stage, "epoch": epoch + 1, "groups": groups(self.supernet)}
        write_line(self.path, line)


def groups(supernet: Supernet) -> list[dict[str, Any]]:
    """Returns the entries of a line, one for each group of cells."""
    entries = []
    for group, encoding in enumerate(supernet.encodings):
        gates, (of_operations, of_edges) = encoding.gates(), encoding.importances()
        entries.append(
            {
                "cells": [index for index, own in enumerate(supernet.groups) if own == group],
                "operation_importance": _rounded(of_operations),
                "edge_importance": _rounded(of_edges),
                "gates": keras.ops.convert_to_numpy(gates).astype(int).tolist(),
            }
        )
    return entries


def _rounded(values: Any) -> list:
    return keras.ops.convert_to_numpy(values).astype(float).round(DIGITS).tolist()


def read_history(path: Path) -> list[dict[str, Any]]:
    """Returns the lines of an `architecture.jsonl`, [] if there is none.

    Raises:
        ValueError: if a line is not JSON, or not what `write_line` wrote.
    """
    if not path.exists():
        return []
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} has a line that is not JSON ({error}): remove the file.") from error
    for number, line in enumerate(lines, 1):
        if (
            not isinstance(line, dict)
            or not {"stage": str, "epoch": int, "groups": list}.items()
            <= {key: type(value) for key, value in line.items()}.items()
        ):
            raise ValueError(f"{path}: line {number} is not what a search writes: remove the file.")
    return lines


def write_line(path: Path, line: dict[str, Any]) -> None:
    """Adds a line to a history, atomically, in place of earlier ones of the same stage and epoch or later."""
    lines = [
        old for old in read_history(path) if old["stage"] != line["stage"] or old["epoch"] < line["epoch"]
    ]
    atomic.write_text(path, "".join(f"{json.dumps(entry, allow_nan=False)}\n" for entry in [*lines, line]))
