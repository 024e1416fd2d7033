"""Two devices compute what one computes: the same batch, the same statistics, the same 16 steps, the same slots."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PROGRAM = Path(__file__).with_name("replicas_program.py")
pytestmark = pytest.mark.slow


def variables_after(replicas: int, order: str, partial_channels: int, path: Path) -> dict[str, np.ndarray]:
    environment = os.environ | {"PYTHONPATH": str(PROGRAM.parents[2]), "CUDA_VISIBLE_DEVICES": "-1"}
    # With so few channels oneDNN is not sound on every processor (hmnas_tf/runs/processor.py).
    environment["TF_ENABLE_ONEDNN_OPTS"] = "0"
    command = [sys.executable, str(PROGRAM), str(replicas), order, str(partial_channels), str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


@pytest.mark.parametrize(
    ("order", "partial_channels"), [("first_order", 1), ("second_order", 1), ("first_order", 2)]
)
def test_two_replicas_are_one(order, partial_channels, tmp_path):
    one = variables_after(1, order, partial_channels, tmp_path / "one.npz")
    two = variables_after(2, order, partial_channels, tmp_path / "two.npz")
    assert one.keys() == two.keys()
    stages = {name.split()[0] for name in one} - {"genotype"}
    assert stages == ({"supernet", "masks", "tuning"} if order == "first_order" else {"supernet"})
    differences = {
        name: np.abs(one[name] - two[name]).max() / max(1.0, np.abs(one[name]).max())
        for name in one
        if name != "genotype"
    }
    apart = {
        name: float(value) for name, value in differences.items() if value >= 1e-5
    }  # in the order of stages
    assert not apart, (one["genotype"], two["genotype"], apart)
