"""The comparison of predicted and measured milliseconds: what it draws, and what it makes of numbers."""

from __future__ import annotations

import numpy as np
from latency_check import draw, ranks, tables

from hmnas_tf.networks.cost import Masks
from hmnas_tf.networks.supernet import Supernet
from hmnas_tf.space.topology import Topology


def test_architectures_differ_in_operations_and_widths():
    topology = Topology(initial_channels=8, cells=2, nodes=2, operations=("sep_conv_3x3", "identity"))
    supernet, random, seen = Supernet(topology, 3, width_masks=True), np.random.default_rng(0), set()
    supernet.build((None, 8, 8, 1))
    for _ in range(10):
        draw(supernet, random)
        masks = Masks.of(supernet)
        seen.add(tuple(int(np.sum(part)) for part in masks.flat()))
    assert len(seen) == 10


def test_the_tables_have_errors_and_ranks():
    rows = [
        {"parameters": 10.0 * n, "multiply_adds": 20.0 * n, "predicted": 1.0 * n, "measured": measured}
        for n, measured in ((1, 1.0), (2, 4.0), (3, 3.0))
    ]
    found = tables({"onnx": rows, "litert": rows}, {"onnx": "o 1", "litert": "l 2"}, "processor")
    first = found["latency"][0]
    assert [row["runtime"] for row in found["latency"]] == ["o 1", "l 2"]
    assert first["measured, ms"] == "1.00 to 4.00"
    assert (first["median error %"], first["largest error %"]) == ("0.0", "50.0")
    assert first["rank correlation"] == "0.500"
    assert ranks([3.0, 1.0, 2.0]).tolist() == [2, 0, 1]
    assert found["architectures"][1] == {
        "architecture": 1,
        "parameters": "20",
        "multiply-adds": "40",
        "onnx, predicted, ms": "2.000",
        "onnx, measured, ms": "4.000",
        "litert, predicted, ms": "2.000",
        "litert, measured, ms": "4.000",
    }
