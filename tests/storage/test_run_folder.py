"""The run folder: whose it is, how far the run came, and that no file is ever half written."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from hmnas_tf.config import Config
from hmnas_tf.storage import atomic
from hmnas_tf.storage.run_folder import RunFolder, flag_lines


def refused(path, config, *parts: str) -> None:
    with pytest.raises(ValueError) as caught:
        RunFolder(path, config)
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def test_new_folder_is_made_with_its_flags_and_no_results(tmp_path):
    folder = RunFolder(tmp_path / "a" / "b", Config())
    assert os.listdir(folder.path) == ["run.flags"]
    assert folder.results == {"schema": 1, "stages": {}}
    assert not folder.finished()


def test_paths_lie_in_the_folder_and_differ(tmp_path):
    folder = RunFolder(tmp_path, Config())
    paths = [folder.metrics, folder.architecture, folder.genotype, folder.model, folder.tensorboard]
    paths += [
        make(stage) for make in (folder.checkpoints, folder.state) for stage in ("supernet", "searched")
    ]
    assert len(set(paths)) == len(paths)
    assert all(tmp_path in path.parents for path in paths)


def test_flag_file_holds_every_setting_in_one_line_each(tmp_path):
    config = Config(cells=5, mixed_precision=True, operations=("identity", "none"), data_dir="/a b=c")
    lines = (RunFolder(tmp_path, config).path / "run.flags").read_text(encoding="utf-8").splitlines()
    assert lines == flag_lines(config, tmp_path)
    flags = dict(line.removeprefix("--").split("=", 1) for line in lines)
    assert set(flags) == {"workdir"} | {field.name for field in dataclasses.fields(Config)}
    assert len(lines) == len(flags)
    assert flags["workdir"] == str(tmp_path)
    assert (flags["cells"], flags["mixed_precision"], flags["download"]) == ("5", "true", "false")
    assert (flags["operations"], flags["data_dir"]) == ("identity,none", "/a b=c")


def test_the_same_flags_continue_a_run_also_after_it_was_moved(tmp_path):
    RunFolder(tmp_path / "old", Config(cells=5)).update(seed=3)
    (tmp_path / "old").rename(tmp_path / "new")
    folder = RunFolder(tmp_path / "new", Config(cells=5))
    assert folder.results["seed"] == 3
    assert f"--workdir={tmp_path / 'new'}" in (folder.path / "run.flags").read_text().splitlines()


CHANGES = {
    "cells": (5, "cells was '3', now '5'"),
    "threshold": (1e-3, "threshold was '0.005', now '0.001'"),
    "mixed_precision": (True, "mixed_precision was 'false', now 'true'"),
    "operations": (("identity",), "now 'identity'"),
    "data_dir": ("/elsewhere", "data_dir was '', now '/elsewhere'"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_other_flags_are_refused_by_name_and_change_nothing(name, tmp_path):
    RunFolder(tmp_path, Config()).update(seed=0)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    value, part = CHANGES[name]
    refused(tmp_path, Config(**{name: value}), "other flags", part, "--workdir", str(tmp_path))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_all_differing_flags_are_named_and_no_other(tmp_path):
    RunFolder(tmp_path, Config())
    with pytest.raises(ValueError) as caught:
        RunFolder(tmp_path, Config(cells=5, seed=1))
    assert str(caught.value).count(" was ") == 2


def test_a_flag_that_the_file_does_not_know_has_had_its_default(tmp_path):
    """So that a newer version with more flags can go on with an older run."""
    RunFolder(tmp_path, Config())
    path = tmp_path / "run.flags"
    path.write_text("".join(line for line in path.read_text().splitlines(True) if "--nodes" not in line))
    refused(tmp_path, Config(nodes=3), "nodes was '4', now '3'")
    RunFolder(tmp_path, Config())


def test_updates_are_kept_merged_and_read_again(tmp_path):
    config = Config()
    folder = RunFolder(tmp_path, config)
    folder.update(seed=1, stages={"supernet": {"params": 7}})
    folder.update(seed=2)
    expected = {"schema": 1, "seed": 2, "stages": {"supernet": {"params": 7}}}
    assert folder.results == expected
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8")) == expected
    again = RunFolder(tmp_path, config)
    assert again.results == expected
    assert not again.finished()
    again.update(artifacts={})
    assert again.finished()
    assert RunFolder(tmp_path, config).finished()


def test_results_that_cannot_be_written_leave_the_old_ones(tmp_path, monkeypatch):
    """Killed while writing: the file is the old one, whole, and nothing else lies about."""
    folder = RunFolder(tmp_path, Config())
    folder.update(seed=1)
    with pytest.raises(ValueError):
        folder.update(loss=float("nan"))
    assert json.loads((tmp_path / "results.json").read_text()) == {"schema": 1, "seed": 1, "stages": {}}

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        RunFolder(tmp_path, Config())
    monkeypatch.undo()
    assert sorted(os.listdir(tmp_path)) == ["results.json", "run.flags"]
    assert RunFolder(tmp_path, Config()).results == {"schema": 1, "seed": 1, "stages": {}}


def test_results_in_memory_are_those_on_the_disk_also_after_a_failure(tmp_path):
    folder = RunFolder(tmp_path, Config())
    folder.update(seed=1)
    with pytest.raises(ValueError):
        folder.update(loss=float("nan"))
    assert folder.results == {"schema": 1, "seed": 1, "stages": {}}


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"", ("not JSON", "remove it")),
        (b'{"schema": 1, "sta', ("not JSON", "remove it")),
        (b"\xff\xfe\x00", ("not JSON", "remove it")),
        (b"[]", ("not a results file of schema 1", "--workdir")),
        (b"null", ("not a results file of schema 1",)),
        (b'{"schema": 2, "stages": {}}', ("not a results file of schema 1", "--workdir")),
        (b'{"schema": 1}', ("not a results file of schema 1",)),
    ],
)
def test_broken_results_are_refused_by_name_with_a_remedy(content, parts, tmp_path):
    RunFolder(tmp_path, Config())
    (tmp_path / "results.json").write_bytes(content)
    refused(tmp_path, Config(), str(tmp_path / "results.json"), *parts)
    assert (tmp_path / "results.json").read_bytes() == content


@pytest.mark.parametrize("content", [b'{"schema": 1, "stages": []}', b"[" * 100_000])
def test_results_of_another_shape_are_refused(content, tmp_path):
    RunFolder(tmp_path, Config())
    (tmp_path / "results.json").write_bytes(content)
    refused(tmp_path, Config(), str(tmp_path / "results.json"))


def test_flag_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "run.flags").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError):
        RunFolder(tmp_path, Config())


def test_path_that_is_a_file_is_an_os_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        RunFolder(Path(tmp_path / "file"), Config())
