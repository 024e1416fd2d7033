"""A file or folder appears whole or not at all, whatever happens while it is written."""

from __future__ import annotations

import json
import os
import stat
import threading

import pytest

from hmnas_tf.storage import atomic

WRITERS = {
    "write_text": (atomic.write_text, "grün\r\n", "grün\r\n".encode()),
    "write_bytes": (atomic.write_bytes, b"\x00\xff", b"\x00\xff"),
    "write_json": (
        atomic.write_json,
        {"b": 1, "a": [0.5, None]},
        b'{\n  "b": 1,\n  "a": [\n    0.5,\n    null\n  ]\n}\n',
    ),
}


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_content_is_exact_and_replaces_what_was_there(name, tmp_path):
    write, value, expected = WRITERS[name]
    path = tmp_path / "new folder" / "results.json"
    write(path, value)
    assert path.read_bytes() == expected
    path.write_bytes(b"old, and longer than what is written next" * 9)
    write(path, value)
    assert path.read_bytes() == expected
    assert os.listdir(path.parent) == ["results.json"]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), {"x": [float("-inf")]}, object()])
def test_json_refuses_what_is_not_json_and_keeps_the_old_file(bad, tmp_path):
    path = tmp_path / "results.json"
    atomic.write_json(path, {"schema": 1})
    with pytest.raises((ValueError, TypeError)):
        atomic.write_json(path, bad)
    assert json.loads(path.read_text()) == {"schema": 1}
    assert os.listdir(tmp_path) == ["results.json"]


def test_replacing_keeps_the_suffix_the_folder_and_the_umask(tmp_path):
    path = tmp_path / "derived.keras"
    with atomic.replacing(path) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".keras"
        temporary.write_text("x")
        assert not path.exists()
    assert path.read_text() == "x"
    (tmp_path / "plain").write_text("")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    with atomic.replacing(path, suffix=".part") as temporary:
        assert temporary.suffix == ".part"
        temporary.write_text("y")
    assert path.read_text() == "y"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_replacing_leaves_the_old_file_and_nothing_else_after_an_exception(error, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_text("old")
    with pytest.raises(error), atomic.replacing(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["model.onnx"]


def test_a_block_that_writes_nothing_is_an_error_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), atomic.replacing(path):
        pass
    assert path.read_text() == "old"


def test_an_impossible_folder_is_a_plain_os_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        atomic.write_text(tmp_path / "file" / "results.json", "")
    with pytest.raises(OSError, match="file"):
        atomic.publish_directory(lambda folder: None, tmp_path / "file")


def _write_pair(folder):
    (folder / "variables").mkdir()
    (folder / "saved_model.pb").write_text("a")
    (folder / "variables" / "data").write_text("b")


def test_publish_takes_the_next_number_and_is_readable_by_others(tmp_path):
    base = tmp_path / "saved_model"
    first = atomic.publish_directory(_write_pair, base)
    assert first == base / "1"
    assert stat.S_IMODE(first.stat().st_mode) == 0o755
    assert (first / "variables" / "data").read_text() == "b"
    (base / "7").mkdir()  # empty: rename would silently take its place
    (base / "0009").write_text("")  # a server takes this for version 9
    (base / "best").mkdir()
    (base / "²").mkdir()  # a digit to str.isdigit, not to int
    assert atomic.publish_directory(_write_pair, base) == base / "10"
    assert sorted(os.listdir(base)) == sorted(["0009", "1", "10", "7", "best", "²"])


def test_publish_leaves_nothing_after_an_exception(tmp_path):
    def fail(folder):
        _write_pair(folder)
        raise RuntimeError("not good enough")

    with pytest.raises(RuntimeError, match="not good enough"):
        atomic.publish_directory(fail, tmp_path)
    assert os.listdir(tmp_path) == []


def test_publish_retries_when_the_number_was_taken_meanwhile(tmp_path, monkeypatch):
    rename, taken = os.rename, []

    def race(source, target):
        if not taken:
            taken.append(target)
            _write_pair_at(target)
        rename(source, target)

    def _write_pair_at(target):
        target.mkdir()
        (target / "saved_model.pb").write_text("theirs")

    monkeypatch.setattr(os, "rename", race)
    assert atomic.publish_directory(_write_pair, tmp_path) == tmp_path / "2"
    assert (tmp_path / "1" / "saved_model.pb").read_text() == "theirs"


def test_concurrent_publishers_never_show_half_a_version(tmp_path):
    half, published, stop = [], [], threading.Event()

    def publish():
        for _ in range(5):
            published.append(atomic.publish_directory(_write_pair, tmp_path))

    def poll():
        while not stop.is_set():
            for version in [name for name in os.listdir(tmp_path) if name.isdigit()]:
                if not (tmp_path / version / "variables" / "data").exists():
                    half.append(version)

    poller = threading.Thread(target=poll)
    writers = [threading.Thread(target=publish) for _ in range(3)]
    for thread in (poller, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    poller.join()
    assert half == []
    assert sorted(int(path.name) for path in published) == list(range(1, 16))
    assert sorted(os.listdir(tmp_path), key=int) == [str(n) for n in range(1, 16)]


def test_a_folder_replaces_another_whole_or_not_at_all(tmp_path):
    path = tmp_path / "model" / "web"
    for name in ("one", "two"):
        with atomic.replacing_folder(path) as folder:
            assert folder.name == "web"
            assert os.listdir(folder) == []
            (folder / "inner").mkdir()
            (folder / "inner" / name).write_text(name)
            assert not (path / "inner" / name).exists()
        assert os.listdir(path / "inner") == [name]
        assert os.listdir(path.parent) == ["web"]
    with pytest.raises(RuntimeError, match="no"), atomic.replacing_folder(path) as folder:
        (folder / "three").write_text("3")
        raise RuntimeError("no")
    assert os.listdir(path / "inner") == ["two"]
    assert os.listdir(path.parent) == ["web"]
    (tmp_path / "plain").mkdir()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_a_folder_that_cannot_take_the_place_of_another_leaves_it(tmp_path, monkeypatch):
    path, rename = tmp_path / "web", os.rename
    path.mkdir()
    (path / "old").write_text("old")

    def refusing(source, target):
        if target == path and not (source / "old").exists():
            raise OSError("no space")
        rename(source, target)

    monkeypatch.setattr(os, "rename", refusing)
    with pytest.raises(OSError, match="no space"), atomic.replacing_folder(path) as folder:
        (folder / "new").write_text("new")
    assert os.listdir(path) == ["old"]
    assert os.listdir(tmp_path) == ["web"]
