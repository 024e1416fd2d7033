"""The run folder: whose it is, how far the run came, and that no file is ever half written."""

from __future__ import annotations

import dataclasses
import glob
import json
import os
from pathlib import Path

import pytest

from hmnas_tf.config import Config
from hmnas_tf.storage import atomic
from hmnas_tf.storage.places import located, require_images
from hmnas_tf.storage.plain_names import plainly
from hmnas_tf.storage.run_folder import RunFolder, flag_lines

STAGE = dict.fromkeys(("test_error", "params", "params_nonzero", "flops", "epochs", "seconds"), 7)
ARTIFACT = {"path": "model/derived.keras", "bytes": 7, "gzip_bytes": 7, "test_error": 7.5}


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


def test_a_limit_on_which_nothing_depends_may_be_another(tmp_path):
    RunFolder(tmp_path, Config(max_memory_kb=20))
    RunFolder(tmp_path, Config(max_memory_kb=30))
    assert "--max_memory_kb=30" in (tmp_path / "run.flags").read_text(encoding="utf-8").splitlines()
    refused(tmp_path, Config(max_memory_kb=40, cells=5), "(cells was '3', now '5')")


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
    folder.update(seed=1, stages={"supernet": STAGE})
    folder.update(seed=2)
    expected = {"schema": 1, "seed": 2, "stages": {"supernet": STAGE}}
    assert folder.results == expected
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8")) == expected
    again = RunFolder(tmp_path, config)
    assert again.results == expected
    assert not again.finished()
    again.update(artifacts={"keras": ARTIFACT})
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


@pytest.mark.parametrize(
    ("entries", "strange"),
    [
        ({"artifacts": []}, "artifacts"),
        ({"dataset": None}, "dataset"),
        ({"machine": 5}, "machine"),
        ({"artifacts": {"keras": {}}}, "artifacts.keras"),
        ({"artifacts": {"keras": ARTIFACT | {"path": 7}}}, "artifacts.keras"),
        ({"artifacts": {"keras": ARTIFACT | {"bytes": "many"}}}, "artifacts.keras"),
        ({"stages": {"supernet": None}}, "stages.supernet"),
        ({"stages": {"supernet": STAGE | {"test_error": float("nan")}}}, "stages.supernet"),
        ({"stages": {"supernet": STAGE | {"flops": 10**400}}}, "stages.supernet"),
        ({"budgets": {"parameters": {"asked": 9}}}, "budgets.parameters"),
    ],
)
def test_results_with_an_entry_that_no_run_writes_are_refused_by_name(entries, strange, tmp_path):
    content = {"schema": 1, "stages": {"supernet": STAGE}, "artifacts": {"keras": ARTIFACT}} | entries
    (tmp_path / "results.json").write_text(json.dumps(content))
    refused(
        tmp_path, Config(), f"results.json was changed, {strange} is not", "restore the file, or remove it"
    )


def test_a_run_that_has_just_begun_can_be_withdrawn_and_no_other(tmp_path):
    first = RunFolder(tmp_path, Config())
    first.update(seed=0)
    RunFolder(tmp_path, Config()).withdraw()  # it was begun before
    assert (tmp_path / "run.flags").exists()
    (tmp_path / "metrics.csv").touch()
    first.withdraw()
    assert (tmp_path / "run.flags").exists()
    (tmp_path / "metrics.csv").unlink()
    first.withdraw()
    assert os.listdir(tmp_path) == []
    RunFolder(tmp_path, Config(max_parameters=9))


def test_flag_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "run.flags").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError):
        RunFolder(tmp_path, Config())


def test_path_that_is_a_file_is_an_os_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        RunFolder(Path(tmp_path / "file"), Config())


IMAGES = {"name": "folder:pics", "version": "sha256:0123", "train_examples": 3, "class_names": ["a", "b"]}


def test_reading_neither_makes_nor_writes_anything(tmp_path):
    folder = RunFolder(tmp_path / "run")
    assert not folder.path.exists()
    RunFolder(tmp_path / "run", Config()).update(seed=3)
    before = {path: path.stat() for path in folder.path.iterdir()}
    assert RunFolder(tmp_path / "run").results["seed"] == 3
    assert {path: path.stat() for path in folder.path.iterdir()} == before


def test_images_with_the_same_content_may_be_anywhere(tmp_path):
    RunFolder(tmp_path, Config(dataset="folder:pics"), IMAGES).update(dataset=IMAGES)
    for dataset in ("folder:./pics/", "folder:/elsewhere", "npz:file"):
        RunFolder(tmp_path, Config(dataset=dataset), IMAGES | {"name": dataset})
        assert f"--dataset={dataset}" in (tmp_path / "run.flags").read_text().splitlines()


def test_images_with_another_content_are_refused_and_the_flags_stay(tmp_path):
    RunFolder(tmp_path, Config(dataset="folder:pics"), IMAGES).update(dataset=IMAGES)
    before = (tmp_path / "run.flags").read_bytes()
    for changes in ({"version": "sha256:4567"}, {"class_names": ["a", "c"]}):
        with pytest.raises(ValueError, match=f"other images .they differ in {next(iter(changes))}.: take"):
            RunFolder(tmp_path, Config(dataset="folder:other"), IMAGES | {"name": "folder:other"} | changes)
    with pytest.raises(ValueError, match="dataset was 'folder:pics', now 'digits'"):
        RunFolder(tmp_path, Config(dataset="digits"), IMAGES)
    assert (tmp_path / "run.flags").read_bytes() == before


def test_a_name_counts_where_a_version_is_no_hash(tmp_path):
    old = {"name": "cifar10", "version": "3.0.2"}
    folder = RunFolder(tmp_path, Config(), old)
    folder.update(dataset=old)
    with pytest.raises(ValueError, match="they differ in name"):
        folder.refuse_other_data(old | {"name": "cifar100"})


def test_without_their_content_only_spellings_are_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    RunFolder("run", Config(dataset="folder:pics", data_dir="data"))
    RunFolder("run", Config(dataset="folder:./pics/", data_dir=f"{tmp_path}/data"))
    refused("run", Config(dataset="folder:pics2", data_dir="data"), "dataset was", "now 'folder:pics2'")
    refused("run", Config(dataset="folder:pics", data_dir="data2"), "data_dir was")


def test_places_are_seen_from_where_the_run_began(tmp_path, monkeypatch):
    (tmp_path / "project" / "pics").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    config, results = Config(dataset="folder:pics"), {"machine": {"directory": str(tmp_path / "project")}}
    for directory, expected in (("project", "folder:pics"), ("other", f"folder:{tmp_path}/project/pics")):
        monkeypatch.chdir(tmp_path / directory)
        found = located(config, results)
        assert found.dataset == expected
        require_images(found)
    for lost in ({}, {"machine": None}, {"machine": {"directory": "/nowhere"}}):
        assert located(config, lost) == config
        with pytest.raises(
            ValueError, match=r"not at 'pics': pass --dataset=folder:PATH .* by their content"
        ):
            require_images(config)
    assert located(Config(), results) == Config()


@pytest.mark.parametrize("name", ["plain", "with blanks"])
def test_a_name_that_means_itself_is_taken_as_it_is(name, tmp_path):
    with plainly(tmp_path / name) as path:
        assert path == tmp_path / name


@pytest.mark.parametrize("name", ["lr[0.1]", "a*b", "what?", "back\\slash", "\udce4", "x [1].keras"])
def test_another_is_reached_through_a_link_that_is_gone_afterwards(name, tmp_path):
    (tmp_path / name).mkdir()
    with plainly(tmp_path / name) as path:
        assert glob.glob(str(path)) == [str(path)]
        (path / "file").write_text("x", encoding="ascii")
        assert path.suffix == Path(name).suffix or "[" in name
    assert not path.parent.exists()
    assert (tmp_path / name / "file").read_text(encoding="ascii") == "x"
