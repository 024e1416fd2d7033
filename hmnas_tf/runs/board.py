"""What TensorBoard shows of a run besides Keras' curves: the architecture in numbers and pictures, hyperparameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from hmnas_tf.config import Config
from hmnas_tf.derivation.rules import masked_cell
from hmnas_tf.drawing.cell_graph import draw_cell
from hmnas_tf.drawing.heat_maps import edge_heat_map, operation_heat_map
from hmnas_tf.drawing.picture import as_png
from hmnas_tf.networks.supernet import Supernet
from hmnas_tf.stages.architecture_history import read_history

# Pictures are drawn every so many epochs and in the last one of a stage: those of a group of cells with 14 edges and 7
# operations take one to two seconds of CPU, which each epoch of a small search would notice.
PICTURE_EVERY = 10  # epochs
_DPI = 72
_SUFFIX = ".hyperparameters"  # of the one event file that holds them


class ArchitectureBoard(keras.callbacks.Callback):
    """Shows in TensorBoard what each epoch's line of the history says, for each group of cells.

    Every epoch: `groupG/operation_importance/NAME`, the mean over the edges; `groupG/edge_importance/S-T`;
    `groupG/operations` and `groupG/edges`, the numbers that take part. Every `PICTURE_EVERY` epochs and in the
    last also pictures: both importances, and the cell as the masks leave it, with the densities of weights of the
    group's first cell. An epoch that a kill made come twice is written twice, with the same values.

    Args:
        supernet: whose architecture is searched; only read.
        stage: its name, in words.
        epochs: of the stage.
        history: file of `ArchitectureHistory`, which is called before.
        directory: of the event files.
    """

    def __init__(self, supernet: Supernet, stage: str, epochs: int, history: Path, directory: Path):
        super().__init__()
        self.supernet = supernet
        self.stage = stage
        self.history = history
        self.directory = directory
        self.epochs = epochs

    def on_train_begin(self, logs=None):
        self._writer = tf.summary.create_file_writer(str(self.directory))

    def on_train_end(self, logs=None):
        self._writer.close()

    def on_epoch_end(self, epoch, logs=None):
        lines = [line for line in read_history(self.history) if line["stage"] == self.stage]
        if not lines or lines[-1]["epoch"] != epoch + 1:
            return  # stopped within
        with self._writer.as_default(step=epoch):
            for number, group in enumerate(lines[-1]["groups"]):
                _write_numbers(f"group{number}", group, self.supernet)
                if epoch + 1 == self.epochs or (epoch + 1) % PICTURE_EVERY == 0:
                    edges = [line["groups"][number]["edge_importance"] for line in lines]
                    _write_pictures(f"group{number}", group, edges, self.supernet)
        self._writer.flush()


def _write_numbers(name: str, group: Mapping[str, Any], supernet: Supernet) -> None:
    topology, gates = supernet.topology, np.array(group["gates"])
    means = np.mean(group["operation_importance"], axis=0)
    for operation, mean in zip(topology.operations, means, strict=True):
        tf.summary.scalar(f"{name}/operation_importance/{operation}", mean)
    for edge, importance in zip(topology.edges, group["edge_importance"], strict=True):
        tf.summary.scalar(f"{name}/edge_importance/{edge.source}-{edge.target}", importance)
    tf.summary.scalar(f"{name}/operations", gates.sum())
    tf.summary.scalar(f"{name}/edges", gates.any(axis=1).sum())


def _write_pictures(
    name: str, group: Mapping[str, Any], edges: list[list[float]], supernet: Supernet
) -> None:
    topology, index = supernet.topology, group["cells"][0]
    operations = group["operation_importance"]
    where = f"cells {', '.join(map(str, group['cells']))}"
    figures = {
        "operation_importance": operation_heat_map(
            operations, topology, gates=group["gates"], title=f"operation importance, {where}"
        ),
        "edge_importance": edge_heat_map(edges, topology, title=f"edge importance, {where}"),
        "cell": draw_cell(topology, masked_cell(supernet, index), index=index),
    }
    for what, figure in figures.items():
        image = tf.io.decode_png(as_png(figure, _DPI), channels=3)
        tf.summary.image(f"{name}/{what}", image[tf.newaxis])


def write_hyperparameters(directory: Path, config: Config, results: Mapping[str, Any]) -> None:
    """Writes a run's settings and the test error after each stage for TensorBoard's table of hyperparameters.

    In a log directory that holds several runs it compares them. Called again it replaces what it wrote.

    Args:
        directory: of the run's event files.
        config: all settings.
        results: of the run, as in `results.json`.
    """
    for old in directory.glob(f"*{_SUFFIX}"):
        old.unlink()
    settings = {
        name: ",".join(value) if isinstance(value, tuple) else value
        for name, value in dataclasses.asdict(config).items()
    }
    errors = {f"test_error/{key}": stage["test_error"] for key, stage in results["stages"].items()}
    writer = tf.summary.create_file_writer(str(directory), filename_suffix=_SUFFIX)
    with writer.as_default(step=0):
        hparams.hparams_config(
            hparams=[hparams.HParam(name) for name in settings],
            metrics=[hparams.Metric(tag, display_name=tag.replace("_", " ")) for tag in errors],
        )
        hparams.hparams(settings)
        for tag, value in errors.items():
            tf.summary.scalar(tag, value)
    writer.close()
