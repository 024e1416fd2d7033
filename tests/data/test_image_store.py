"""Images on disk: made once, continued after any end, checked by their content, forgotten with their folder."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from hmnas_tf.console.progress import silent
from hmnas_tf.data import image_store, load_dataset
from hmnas_tf.data.notices import oddities

X = np.random.default_rng(0).integers(0, 256, (50, 6, 5, 3)).astype(np.uint8)
Y = np.arange(50) % 4
ROOT = Path(__file__).parents[2]


class Source:
    """The images in blocks of seven, which notes from where it is read and may fail."""

    def __init__(self, fails_at: int = len(X), error: BaseException | None = None):
        self.starts, self._fails_at, self._error = [], fails_at, error

    def __call__(self, start: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        self.starts.append(start)
        for first in range(start, len(X), 7):
            if first >= self._fails_at:
                raise self._error
            yield X[first : first + 7], Y[first : first + 7]


def made(folder: Path, source: Source | None = None, say=silent, again=None) -> image_store.ImageStore:
    return image_store.opened(folder, X.shape, source or Source(), "writing", say, again)


def assert_whole(store: image_store.ImageStore) -> None:
    assert np.array_equal(store.rows(np.arange(50)), X)
    assert np.array_equal(store.facts["label"], Y)
    assert image_store.digests_of(store.rows(np.arange(50)[::-1])) == image_store.digests_of(X[::-1])
    assert image_store.highest_of(store.rows(np.arange(3))) == image_store.highest_of(X[:3])


def test_it_is_made_once(tmp_path):
    source = Source()
    assert_whole(made(tmp_path / "a", source))
    assert_whole(made(tmp_path / "a", source))
    assert source.starts == [0]
    assert {path.name for path in (tmp_path / "a").iterdir()} == {".lock", "facts", "images", "store.json"}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("a file is damaged")])
def test_what_was_left_unfinished_is_continued(tmp_path, error):
    with pytest.raises(type(error)):
        made(tmp_path / "a", Source(28, error))
    source = Source()
    assert_whole(made(tmp_path / "a", source))
    assert source.starts == [28]


def test_what_a_failing_power_supply_has_left_is_not_believed(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path / "a", Source(28, KeyboardInterrupt()))
    with (tmp_path / "a" / "images.part").open("r+b") as file:
        file.seek(20 * X[0].size)
        file.write(bytes(X[0].size))
    with (tmp_path / "a" / "facts.part").open("ab") as file:
        file.write(b"half")
    source = Source()
    assert_whole(made(tmp_path / "a", source))
    assert source.starts == [20]


@pytest.mark.parametrize("damage", ["images", "facts", "cut"])
def test_a_store_that_was_damaged_is_made_again(tmp_path, damage):
    made(tmp_path / "a")
    if damage == "cut":
        os.truncate(tmp_path / "a" / "images", 100)
    else:
        path = tmp_path / "a" / damage
        path.write_bytes(bytes(path.stat().st_size))
    assert_whole(made(tmp_path / "a"))


def test_a_store_of_other_images_is_made_again(tmp_path):
    made(tmp_path / "a")
    source = Source()
    assert_whole(made(tmp_path / "a", source, again=X.__getitem__))
    assert source.starts == []
    made(tmp_path / "a", source, again=lambda number: 255 - X[number])
    assert source.starts == [0]


def test_a_full_disk_is_one_line_and_nothing_is_lost(tmp_path, monkeypatch):
    free, written = X.size // 2, 0
    write = image_store._write

    def until_full(file, values):
        nonlocal written
        if written + values.nbytes > free:
            file.write(values.tobytes()[: max(0, free - written)])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written += values.nbytes
        write(file, values)

    with monkeypatch.context() as patch:
        patch.setattr(image_store, "_write", until_full)
        with pytest.raises(
            ValueError, match=r"is full: \d+ of 50 images need .* kept, .*--cache_dir"
        ) as caught:
            made(tmp_path / "a")
    assert "\n" not in str(caught.value)
    source = Source()
    assert_whole(made(tmp_path / "a", source))
    assert source.starts[0] >= 14


def test_a_disk_that_is_too_small_is_told_before_anything_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=X.size - 1))
    source = Source()
    with pytest.raises(ValueError, match="50 of 50 images need 0.0 GB more"):
        made(tmp_path / "a", source)
    assert source.starts == []


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ValueError, match="images cannot be kept in .*--cache_dir"):
        made(tmp_path / "file" / "a")


def test_two_that_make_it_at_once_make_it_once(tmp_path):
    begun, may_go_on, lines = threading.Event(), threading.Event(), []

    def slow(start: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        begun.set()
        may_go_on.wait(60)
        yield X, Y

    def tell(line: str) -> None:
        lines.append(line)
        may_go_on.set()

    first = threading.Thread(target=made, args=(tmp_path / "a", slow))
    first.start()
    begun.wait(60)
    source = Source()
    assert_whole(made(tmp_path / "a", source, tell))
    first.join()
    assert source.starts == []
    assert lines[0].startswith(f"waiting for process {os.getpid()} on ")


def fill(folder: Path) -> Path:
    for number, (pixels, label) in enumerate(zip(X, Y, strict=True)):
        path = folder / f"class {label}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return folder


def test_seeds_and_parts_share_a_store_and_are_what_they_are_in_memory(tmp_path):
    folder = fill(tmp_path / "pictures")
    for options in ({"seed": 0}, {"seed": 1}, {"seed": 1, "holdout": 0.3}):
        in_memory = load_dataset(f"folder:{folder}", **options)
        on_disk = load_dataset(f"folder:{folder}", cache_dir=str(tmp_path / "cache"), **options)
        assert on_disk.describe() == in_memory.describe()
        assert oddities(on_disk) == oddities(in_memory)
        for part in ("x_train", "y_train", "x_test", "y_test"):
            assert np.array_equal(getattr(on_disk, part), getattr(in_memory, part))
    (kept,) = (tmp_path / "cache").iterdir()
    assert kept.name.startswith("pictures-")


def test_another_size_and_another_file_are_another_store(tmp_path):
    folder, cache = fill(tmp_path / "pictures"), str(tmp_path / "cache")
    load_dataset(f"folder:{folder}", cache_dir=cache)
    load_dataset(f"folder:{folder}", cache_dir=cache, image_size=4)
    Image.fromarray(255 - X[0]).save(folder / "class 0" / "0.png")
    again = load_dataset(f"folder:{folder}", cache_dir=cache)
    assert len(list((tmp_path / "cache").iterdir())) == 3
    assert again.version == load_dataset(f"folder:{folder}").version


def test_a_cache_among_the_pictures_is_refused(tmp_path):
    folder = fill(tmp_path / "pictures")
    with pytest.raises(ValueError, match="cache_dir=.* lies inside the pictures.*--cache_dir outside"):
        load_dataset(f"folder:{folder}", cache_dir=str(folder / "cache"))
    assert not (folder / "cache").exists()


def test_files_that_cannot_be_decoded_are_all_named(tmp_path):
    folder, cache = fill(tmp_path / "pictures"), str(tmp_path / "cache")
    for number in (3, 8):
        path = folder / f"class {number % 4}" / f"{number}.png"
        path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"cannot read .*so with 1 more of 50 files: ") as caught:
        load_dataset(f"folder:{folder}", cache_dir=cache)
    assert all(f"/{number}.png" in str(caught.value) for number in (3, 8))


def test_pages_are_given_back_and_a_process_ends_in_the_middle_of_a_stream(tmp_path):
    """Else a set larger than the memory would seem to fill it; and Python and TensorFlow would wait for each other."""
    program = f"""
import sys, time
from pathlib import Path
import numpy as np
from hmnas_tf.console.progress import silent
from hmnas_tf.data import image_store, training_batches
shape = (200, 512, 512, 1)
def blocks(start):
    for _ in range(start, 200):
        yield np.zeros((1, *shape[1:]), np.uint8), np.zeros(1)
rows = image_store.opened(Path({str(tmp_path)!r}), shape, blocks, "writing", silent).rows(np.arange(200))
def resident():
    return int(open("/proc/self/statm").read().split()[2]) * 4096  # of files
before = resident()
assert sum(int(rows.source[i].sum()) for i in range(200)) == 0
time.sleep(1)
print(resident() - before)
def interrupted():
    settings = dict(batch_size=4, start_step=0, total_steps=10**6, seed=0, augmentation=(), mean=(0.5,), std=(0.5,))
    stream = iter(training_batches(rows, np.zeros(200, int), **settings))
    next(stream)
    raise KeyboardInterrupt
interrupted()
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.stderr.splitlines()[-1] == "KeyboardInterrupt", done.stderr[-2000:]
    assert int(done.stdout) < 10e6
