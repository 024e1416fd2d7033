"""A crash that is known is told where it was seen, and nowhere else."""

from __future__ import annotations

import pytest

from hmnas_tf.config import Config
from hmnas_tf.runs import processor

AMX, OTHER = "flags : fpu avx512f amx_tile amx_int8\n", "flags : fpu avx2 avx512f\n"


@pytest.mark.parametrize(
    ("flags", "channels", "pixels", "onednn", "told"),
    [
        (AMX, 4, 64, "1", True),
        (AMX, 6, 96, None, True),
        (AMX, 4, 64, "0", False),
        (AMX, 8, 64, "1", False),
        (AMX, 4, 32, "1", False),
        (OTHER, 4, 64, "1", False),
        (None, 4, 64, "1", False),
    ],
)
def test_the_crash_is_told_where_it_was_seen(flags, channels, pixels, onednn, told, tmp_path, monkeypatch):
    if flags is not None:
        (tmp_path / "cpuinfo").write_text(flags)
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    if onednn is not None:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", onednn)
    lines = processor.known_crashes(Config(initial_channels=channels), (pixels, pixels, 3))
    assert bool(lines) == told
    assert all("TF_ENABLE_ONEDNN_OPTS=0" in line for line in lines)
