"""Who may write into a run folder."""

from __future__ import annotations

import pytest

from hmnas_tf.storage.possession import copied, held


def test_a_copy_leaves_out_what_the_chief_is_just_writing(tmp_path):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    for folder in (run, run / "checkpoints"):
        (folder / "kept").write_text("kept", encoding="utf-8")
        (folder / ".kept-0123").symlink_to(folder / "gone")  # a name that is there when listed, not when read
    with copied(run, 1) as copy:
        assert sorted(p.relative_to(copy).as_posix() for p in copy.rglob("*")) == [
            "checkpoints",
            "checkpoints/kept",
            "kept",
        ]
    assert not (run / "workers").exists()


def test_a_copy_replaces_what_a_kill_left(tmp_path):
    run = tmp_path / "run"
    (run / "workers" / "1" / "old").mkdir(parents=True)
    with copied(run, 1) as copy:
        assert list(copy.iterdir()) == []


def test_a_held_folder_names_its_holder(tmp_path):
    with held(tmp_path / "run"), pytest.raises(ValueError, match=r"in use by process \d+ on ") as error:
        held(tmp_path / "run").__enter__()
    assert "\n" not in str(error.value)
