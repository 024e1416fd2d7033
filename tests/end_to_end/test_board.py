"""The architecture's history and what TensorBoard reads, in the folder of a finished run and after a kill."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from hmnas_tf.config import Config
from hmnas_tf.derivation.rules import masked_cell
from hmnas_tf.networks.supernet import Supernet
from hmnas_tf.runs import board
from hmnas_tf.runs.board import ArchitectureBoard, write_hyperparameters
from hmnas_tf.space.topology import Topology
from hmnas_tf.stages.architecture_history import groups, read_history, write_line

EPOCHS = {"supernet": ("supernet training", 3), "searched": ("mask search", 2)}
EDGES, OPERATIONS = 2, 2  # of the shortest run


def events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()


def scalars(found: EventAccumulator, tag: str) -> dict[int, float]:
    return {event.step: float(tf.make_ndarray(event.tensor_proto)) for event in found.Tensors(tag)}


def image_sizes(found: EventAccumulator, tag: str) -> dict[int, tuple[int, int]]:
    """Returns height and width of the one picture of each step."""
    sizes = {}
    for event in found.Tensors(tag):
        width, height, png = tf.make_ndarray(event.tensor_proto)
        sizes[event.step] = tuple(tf.io.decode_png(png).shape[:2])
        assert sizes[event.step] == (int(height), int(width))
    return sizes


def test_the_history_has_a_line_for_every_epoch_of_the_search(short):
    lines = read_history(short.workdir / "architecture.jsonl")
    expected = [(stage, epoch + 1) for stage, epochs in EPOCHS.values() for epoch in range(epochs)]
    assert [(line["stage"], line["epoch"]) for line in lines] == expected
    for line in lines:
        (group,) = line["groups"]
        assert group["cells"] == [0]
        assert np.array(group["operation_importance"]).sum(axis=1) == pytest.approx(np.ones(EDGES), abs=1e-5)
        assert np.sum(group["edge_importance"]) == pytest.approx(1.0, abs=1e-5)
        assert np.shape(group["gates"]) == (EDGES, OPERATIONS)
    assert all(np.all(line["groups"][0]["gates"]) for line in lines[:3])
    first, *_, last = (line["groups"][0]["operation_importance"] for line in lines[:3])
    assert first != last, "it was trained"


def test_the_last_line_is_the_genotype(short):
    (group,) = read_history(short.workdir / "architecture.jsonl")[-1]["groups"]
    genotype = short.result.genotype
    found = {
        (edge.source, edge.target, operation.name): (gene.beta, operation.alpha)
        for edge, gene in genotype.cells[0].edges()
        for operation in gene.operations
    }
    topology = genotype.topology
    expected = {
        (*topology.edges[row], topology.operations[column]): (
            pytest.approx(group["edge_importance"][row], abs=1e-5),
            pytest.approx(group["operation_importance"][row][column], abs=1e-5),
        )
        for row, column in zip(*np.nonzero(group["gates"]), strict=True)
    }
    assert found == expected


@pytest.mark.parametrize("key", EPOCHS)
def test_tensorboard_has_the_history_in_numbers_and_pictures(key, short):
    stage, epochs = EPOCHS[key]
    lines = [line for line in read_history(short.workdir / "architecture.jsonl") if line["stage"] == stage]
    found = events(short.workdir / "tensorboard" / key / "architecture")
    for edge, name in enumerate(("0-2", "1-2")):
        expected = [line["groups"][0]["edge_importance"][edge] for line in lines]
        assert scalars(found, f"group0/edge_importance/{name}") == pytest.approx(dict(enumerate(expected)))
    for column, name in enumerate(("sep_conv_3x3", "identity")):
        expected = [np.mean(line["groups"][0]["operation_importance"], axis=0)[column] for line in lines]
        assert scalars(found, f"group0/operation_importance/{name}") == pytest.approx(
            dict(enumerate(expected))
        )
    gates = [np.array(line["groups"][0]["gates"]) for line in lines]
    assert scalars(found, "group0/operations") == dict(enumerate(g.sum() for g in gates))
    assert scalars(found, "group0/edges") == dict(enumerate(g.any(axis=1).sum() for g in gates))
    for what in ("operation_importance", "edge_importance", "cell"):
        ((step, size),) = image_sizes(found, f"group0/{what}").items()
        assert step == epochs - 1
        assert min(size) > 100


def test_tensorboard_has_the_hyperparameters_and_the_errors(short):
    folder = short.workdir / "tensorboard"
    assert len(list(folder.glob("*.hyperparameters"))) == 1
    found = events(folder)
    for key, stage in short.result.results["stages"].items():
        assert scalars(found, f"test_error/{key}") == {0: pytest.approx(stage["test_error"], rel=1e-6)}
    content = found.PluginTagToContent("hparams")
    session = plugin_data_pb2.HParamsPluginData.FromString(content["_hparams_/session_start_info"])
    values = session.session_start_info.hparams
    assert set(values) == {field.name for field in dataclasses.fields(Config)}
    assert values["cells"].number_value == short.config.cells
    assert values["operations"].string_value == "sep_conv_3x3,identity"
    assert values["mixed_precision"].bool_value is False
    experiment = plugin_data_pb2.HParamsPluginData.FromString(content["_hparams_/experiment"]).experiment
    assert {info.name.tag for info in experiment.metric_infos} == {
        f"test_error/{key}" for key in short.result.results["stages"]
    }


def test_hyperparameters_that_are_written_again_are_replaced(tmp_path):
    for error in (30.0, 20.0):
        write_hyperparameters(tmp_path, Config(), {"stages": {"finetuned": {"test_error": error}}})
    assert len(list(tmp_path.iterdir())) == 1
    assert scalars(events(tmp_path), "test_error/finetuned") == {0: 20.0}


@pytest.fixture
def supernet() -> Supernet:
    topology = Topology(initial_channels=4, cells=2, nodes=1, operations=("sep_conv_3x3", "identity"))
    keras.utils.set_random_seed(0)
    supernet = Supernet(topology, 4, cell_sharing="cell")
    supernet.build((None, 8, 8, 1))
    return supernet


def watch(callback: ArchitectureBoard, epochs, supernet: Supernet) -> None:
    """Lets a callback see epochs, whose lines are written before."""
    callback.on_train_begin()
    for epoch in epochs:
        line = {"stage": "mask search", "epoch": epoch + 1, "groups": groups(supernet)}
        write_line(callback.history, line)
        callback.on_epoch_end(epoch)
    callback.on_train_end()


def test_pictures_are_drawn_now_and_then_and_at_the_end(supernet, tmp_path, monkeypatch):
    monkeypatch.setattr(board, "PICTURE_EVERY", 3)
    callback = ArchitectureBoard(supernet, "mask search", 5, tmp_path / "a.jsonl", tmp_path / "board")
    supernet.encodings[1].operation_mask.assign([[1e-2, 0.0], [0.0, 0.0]])
    watch(callback, range(5), supernet)
    found = events(tmp_path / "board")
    for group in (0, 1):
        assert set(image_sizes(found, f"group{group}/edge_importance")) == {2, 4}
        assert set(scalars(found, f"group{group}/edges")) == set(range(5))
    assert scalars(found, "group1/operations")[0] == 1
    full, pruned = (image_sizes(found, f"group{group}/cell")[4][0] for group in (0, 1))
    assert pruned < full, "an edge that is cut has no row in the table"
    assert len(list(masked_cell(supernet, 1).edges())) == 1


def test_an_epoch_that_comes_twice_or_is_stopped_within_breaks_nothing(supernet, tmp_path):
    settings = (supernet, "mask search", 3, tmp_path / "a.jsonl", tmp_path / "board")
    watch(ArchitectureBoard(*settings), range(2), supernet)
    stopped = ArchitectureBoard(*settings)
    stopped.on_train_begin()
    stopped.on_epoch_end(2)  # it has no line
    stopped.on_train_end()
    assert set(scalars(events(tmp_path / "board"), "group0/edges")) == {0, 1}
    watch(ArchitectureBoard(*settings), range(1, 3), supernet)
    found = events(tmp_path / "board")
    assert scalars(found, "group0/edges") == {0: 2.0, 1: 2.0, 2: 2.0}
    assert set(image_sizes(found, "group0/cell")) == {2}


def test_a_folder_without_events_gets_them_again(short, tmp_path):
    """Whoever deletes `tensorboard/` loses pictures, not the run."""
    shutil.copytree(short.workdir / "tensorboard", tmp_path / "tensorboard")
    shutil.rmtree(tmp_path / "tensorboard")
    write_hyperparameters(tmp_path / "tensorboard", short.config, short.result.results)
    assert scalars(events(tmp_path / "tensorboard"), "test_error/finetuned")
