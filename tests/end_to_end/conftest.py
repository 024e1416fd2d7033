"""Noisy patterns as a data set, the shortest settings, and runs that tests share."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

import hmnas_tf
from hmnas_tf.config import Config
from hmnas_tf.data import ImageDataset
from hmnas_tf.exporters import clean_process
from hmnas_tf.runtimes import __main__ as runtimes

TINY = dict(
    dataset="npz:patterns.npz",
    augmentation=("none",),
    initial_channels=4,
    cells=1,
    nodes=1,
    operations=("sep_conv_3x3", "identity"),
    batch_size=16,
    supernet_epochs=3,
    warmup_epochs=1,
    weight_learning_rate=0.1,
    architecture_learning_rate=0.03,
    mask_epochs=2,
    mask_rates="relative",
    weight_mask_crossing=0.4,
    architecture_mask_crossing=0.5,
    operation_price=0.01,
    finetune_epochs=2,
    finetune_batch_size=16,
    drop_path=0.1,
    checkpoint_steps=3,
    formats=("keras",),
)


OWN_PROCESSES = clean_process.run


def in_this_process(artifact: str, runtime: str, path: Path, pixels: Path) -> Mapping[str, np.ndarray]:
    """Runs an artifact by the code of its runtime, without starting Python and TensorFlow for it."""
    out = io.BytesIO()
    runtimes.main(runtime, str(path), str(pixels), out)
    out.seek(0)
    return dict(np.load(out))


@contextlib.contextmanager
def artifacts_run_by(runner: Callable[..., Mapping[str, np.ndarray]]) -> Iterator[None]:
    """Inside, `runner` runs the artifacts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clean_process, "run", runner)
        yield


@pytest.fixture(scope="module", autouse=True)  # a wider scope would reach the tests of other folders
def artifacts_in_this_process() -> Iterator[None]:
    """Starting a process for every artifact of every run would double the time of these tests."""
    with artifacts_run_by(in_this_process):
        yield


@pytest.fixture(scope="session")
def in_own_processes() -> Callable[[], contextlib.AbstractContextManager]:
    """Inside, artifacts run as they do for users."""
    return lambda: artifacts_run_by(OWN_PROCESSES)


@pytest.fixture(scope="session")
def patterns(noisy_patterns) -> ImageDataset:
    """The noisy patterns as a data set."""
    arrays = noisy_patterns(*map(np.random.default_rng, range(3)))
    names = ("ant", "bee", "cat", "dog")
    return ImageDataset("patterns", "1", **arrays, class_names=names, augmentation=("crop",))


@pytest.fixture(scope="session")
def make_config() -> Callable[..., Config]:
    """Returns the shortest settings with some changes."""
    return lambda **changes: Config(**(TINY | changes))


@dataclasses.dataclass(frozen=True)
class Finished:
    """A finished run: what it returned, what it said, and its settings."""

    result: hmnas_tf.SearchResult
    lines: list[str]
    config: Config

    @property
    def workdir(self) -> Path:
        return self.result.workdir


@pytest.fixture(scope="session")
def run(patterns) -> Callable[[Config, Path], Finished]:
    """Searches on the patterns."""

    def apply(config: Config, workdir: Path) -> Finished:
        lines: list[str] = []
        return Finished(hmnas_tf.search(patterns, config, workdir, say=lines.append), lines, config)

    return apply


@pytest.fixture(scope="session")
def whole(run, make_config, in_own_processes, tmp_path_factory) -> Finished:
    """A run with two cells and every format."""
    operations = ("sep_conv_3x3", "max_pool_3x3", "identity")
    config = make_config(cells=2, operations=operations, formats=("saved_model", "onnx", "litert"))
    with in_own_processes():
        return run(config, tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture(scope="session")
def short(run, make_config, tmp_path_factory) -> Finished:
    """The shortest run, never interrupted."""
    with artifacts_run_by(in_this_process):
        return run(make_config(), tmp_path_factory.mktemp("short") / "run")
