"""The shortest run by the command line, shared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from forked import Command

SMALLEST = (
    "--initial_channels=4",
    "--cells=1",
    "--nodes=1",
    "--operations=sep_conv_3x3,identity",
    "--augmentation=crop",
    "--batch_size=16",
    "--supernet_epochs=4",
    "--warmup_epochs=1",
    "--weight_learning_rate=0.1",
    "--architecture_learning_rate=0.03",
    "--mask_epochs=2",
    "--mask_rates=relative",
    "--weight_mask_crossing=0.4",
    "--operation_price=0.01",
    "--finetune_epochs=2",
    "--finetune_batch_size=16",
    "--drop_path=0.1",
    "--checkpoint_steps=1",
    "--evaluate_every=0",
    "--formats=keras",
)


@pytest.fixture(scope="session")
def patterns(noisy_patterns, tmp_path_factory) -> Path:
    """The noisy patterns as an NPZ file."""
    random = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("patterns") / "patterns.npz"
    np.savez(path, **noisy_patterns(random, random, random))
    return path


@pytest.fixture(scope="session")
def smallest(patterns) -> Callable[[Path], Sequence[str]]:
    """Returns the arguments of the shortest search in a folder."""
    return lambda workdir: (f"--workdir={workdir}", f"--dataset=npz:{patterns}", *SMALLEST)


@pytest.fixture(scope="session")
def finished(smallest, tmp_path_factory) -> Path:
    """The folder of a search that was never interrupted."""
    folder = tmp_path_factory.mktemp("finished")
    command = Command("search", smallest(folder / "run"), folder / "printed")
    assert command.wait() == 0, command.complained
    return folder / "run"
