"""The history of an architecture: what stands in a line, and that a repeated or stopped epoch leaves no second one."""

from __future__ import annotations

import json
import types

import keras
import numpy as np
import pytest

from hmnas_tf.stages.architecture_history import ArchitectureHistory, groups, read_history, write_line


def softmax(values: np.ndarray) -> np.ndarray:
    return np.exp(values) / np.exp(values).sum(axis=-1, keepdims=True)


def places(path) -> list[tuple[str, int]]:
    return [(line["stage"], line["epoch"]) for line in read_history(path)]


def entry(stage: str, epoch: int, **more) -> dict:
    return {"stage": stage, "epoch": epoch, "groups": []} | more


def watched(supernet, path, iterations: int, steps: int = 5) -> ArchitectureHistory:
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.iterations.assign(iterations)
    callback = ArchitectureHistory(supernet, "mask search", steps, path)
    callback.set_model(types.SimpleNamespace(optimizer=optimizer))
    return callback


@pytest.mark.parametrize("edge_softmax", ["node", "dag", "none"])
def test_a_line_has_importances_and_gates_of_every_group(edge_softmax, make_supernet):
    supernet = make_supernet(cells=2, cell_sharing="cell", edge_softmax=edge_softmax)
    random = np.random.default_rng(0)
    alpha, beta = random.normal(size=(5, 3)), random.normal(size=5)
    encoding = supernet.encodings[1]
    encoding.alpha.assign(alpha)
    encoding.beta.assign(beta)
    mask = np.full((5, 3), 1e-2)
    mask[0] = mask[1] = 0.0  # nothing reaches node 2, so the edge from it, row 4, is dead too
    mask[2, 1] = 0.0
    encoding.operation_mask.assign(mask)
    first, second = groups(supernet)
    assert (first["cells"], second["cells"]) == ([0], [1])
    assert first["gates"] == [[1, 1, 1]] * 5
    assert second["gates"] == [[0, 0, 0], [0, 0, 0], [1, 0, 1], [1, 1, 1], [0, 0, 0]]
    assert np.array(second["operation_importance"]) == pytest.approx(softmax(alpha), abs=1e-6)
    shares = {
        "node": np.concatenate([softmax(beta[:2]), softmax(beta[2:])]),
        "dag": softmax(beta),
        "none": np.ones(5),
    }[edge_softmax]
    assert np.array(second["edge_importance"]) == pytest.approx(shares, abs=1e-6)


def test_cells_that_share_are_one_group(make_supernet):
    supernet = make_supernet(cells=3, cell_sharing="type")
    assert [group["cells"] for group in groups(supernet)] == [[0], [1, 2]]


def test_an_epoch_is_a_line_of_json(make_supernet, tmp_path):
    supernet, path = make_supernet(), tmp_path / "architecture.jsonl"
    watched(supernet, path, 15).on_epoch_end(2)
    (text,) = path.read_text(encoding="utf-8").splitlines()
    assert json.loads(text) == {"stage": "mask search", "epoch": 3, "groups": groups(supernet)}
    assert read_history(path) == [json.loads(text)]
    assert [found.name for found in tmp_path.iterdir()] == ["architecture.jsonl"]


def test_an_epoch_stopped_within_has_no_line(make_supernet, tmp_path):
    path = tmp_path / "architecture.jsonl"
    watched(make_supernet(), path, 13).on_epoch_end(2)
    assert read_history(path) == []


def test_a_repeated_epoch_replaces_its_line_and_later_ones_of_its_stage_only(tmp_path):
    path = tmp_path / "architecture.jsonl"
    for epoch in (1, 2, 3):
        write_line(path, entry("supernet training", epoch))
    write_line(path, entry("mask search", 1))
    write_line(path, entry("supernet training", 2, groups=[7]))
    assert places(path) == [("supernet training", 1), ("mask search", 1), ("supernet training", 2)]
    assert read_history(path)[-1]["groups"] == [7]


def test_a_line_that_is_not_json_is_told_in_one_line(tmp_path):
    path = tmp_path / "architecture.jsonl"
    path.write_text('{"stage": "mask se', encoding="utf-8")
    with pytest.raises(ValueError, match="not JSON.*remove the file") as caught:
        read_history(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_looking_changes_no_bit(make_supernet, tmp_path, values, bitwise_equal):
    supernet = make_supernet(cells=2)
    before = values(supernet.variables)
    watched(supernet, tmp_path / "architecture.jsonl", 5).on_epoch_end(0)
    assert bitwise_equal(values(supernet.variables), before)
