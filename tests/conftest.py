"""Loaded before every test: importing the package sets what TensorFlow reads when it is loaded. And images for runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.random import Generator

import hmnas_tf  # noqa: F401


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no process is left with one of them while the others are done."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """TensorFlow computes as the commands let it: to optimize graphs that run a few steps costs a sixth of the time."""
    if "tensorflow" in sys.modules:
        from hmnas_tf.stages.strategy import configure_cpu

        configure_cpu()


@pytest.fixture(scope="session", autouse=True)
def no_table_of_this_machine(tmp_path_factory) -> Iterator[None]:
    """Milliseconds that tests measure are not kept for the user's runs, nor are his for tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def noisy_patterns() -> Callable[..., dict[str, np.ndarray]]:
    """Draws four patterns under noise, 8 x 8 x 1, that a network learns in a few steps: the arrays of an NPZ file."""

    def draw(of_patterns: Generator, of_train: Generator, of_test: Generator) -> dict[str, np.ndarray]:
        drawn = of_patterns.uniform(0, 255, (4, 8, 8, 1))
        arrays = {}
        for part, count, random in (("train", 160, of_train), ("test", 40, of_test)):
            labels = np.arange(count) % 4
            noise = random.normal(50, 40, (count, 8, 8, 1))
            arrays[f"x_{part}"] = np.clip(0.6 * drawn[labels] + noise, 0, 255).astype(np.uint8)
            arrays[f"y_{part}"] = labels
        return arrays

    return draw
