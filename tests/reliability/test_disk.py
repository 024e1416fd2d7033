"""Images on disk train to the bits of images in memory: whole, killed, and by two workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from forked import STAGES, Command
from PIL import Image
from test_kills import LESS, assert_the_same, kill
from test_workers import start, variables

pytestmark = pytest.mark.slow

SHORT = (
    *LESS,
    "--checkpoint_steps=2",
    "--holdout=0.25",
    "--augmentation=random_resized_crop,flip",
    "--image_size=8",
)


@pytest.fixture(scope="module")
def pictures(noisy_patterns, tmp_path_factory) -> Path:
    """The noisy patterns as files, larger than they are trained at."""
    folder, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    drawn = noisy_patterns(random, random, random)
    for part in ("train", "test"):
        for number, (pixels, label) in enumerate(zip(drawn[f"x_{part}"], drawn[f"y_{part}"], strict=True)):
            path = folder / part / f"class {label}" / f"{number:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[..., 0]).resize((11, 13)).save(path)
    return folder


@pytest.fixture(scope="module")
def typed(smallest, pictures) -> Callable[..., Sequence[str]]:
    """Returns the command line of a search on the pictures, in a folder."""

    def line(workdir: Path, *more: str) -> Sequence[str]:
        kept = [word for word in smallest(workdir) if not word.startswith(("--dataset", "--augmentation"))]
        return [*kept, f"--dataset=folder:{pictures}", *SHORT, *more]

    return line


@pytest.fixture(scope="module")
def in_memory(typed, tmp_path_factory) -> Path:
    """The run folder of a search on images in memory."""
    folder = tmp_path_factory.mktemp("in_memory")
    command = Command("search", typed(folder / "run"), folder / "printed")
    assert command.wait() == 0, command.complained
    return folder / "run"


def test_from_disk_and_killed_it_is_the_run_in_memory(typed, in_memory, tmp_path):
    run, cache = tmp_path / "run", f"--cache_dir={tmp_path / 'cache'}"
    for stage in STAGES:
        command = Command("search", typed(run, cache), tmp_path / stage)
        kill(command, run, stage, False, 0.02)
        assert "are kept on disk" in command.shown
    command = Command("search", typed(run), tmp_path / "last")  # what is where does not matter
    assert command.wait() == 0, command.complained
    assert_the_same(run, in_memory, epochs=4)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_two_workers_read_their_parts(typed, in_memory, tmp_path):
    commands = start(typed(tmp_path / "run", f"--cache_dir={tmp_path / 'cache'}"), tmp_path / "printed")
    assert [command.wait() for command in commands] == [0, 0], [command.complained for command in commands]
    for stage in STAGES:
        for a, b in zip(variables(tmp_path / "run", stage), variables(in_memory, stage), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * max(1, np.abs(b).max()))
