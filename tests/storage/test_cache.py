"""Where files are kept for all runs of a user."""

from __future__ import annotations

from pathlib import Path

from hmnas_tf.storage.cache import cached


def test_the_place_is_that_of_the_standard(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cached("a.json") == tmp_path / "hmnas_tf" / "a.json"
    for value in (None, ""):
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.setenv("XDG_CACHE_HOME", "") if value == "" else monkeypatch.delenv("XDG_CACHE_HOME")
        assert cached("a.json") == Path(tmp_path, "home", ".cache", "hmnas_tf", "a.json")
