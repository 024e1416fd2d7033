"""docs/flags.md is what its tool writes: every command, every flag with its range, every setting in a section."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from absl import app

from hmnas_tf.__main__ import commands
from hmnas_tf.config import Config

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "flags.md").read_text(encoding="utf-8")
TOOL = ROOT / "tools" / "flags_reference.py"


def test_the_document_is_what_the_tool_writes(flags_reference):
    assert flags_reference.document() == DOCUMENT, (
        "run `python tools/flags_reference.py --into=docs/flags.md`"
    )


def test_every_command_has_its_flags(flags_reference):
    settings = {field.name for field in dataclasses.fields(Config)}
    assert set(flags_reference.flags_of("search")) == settings | {"workdir"}
    for command in commands():
        part = DOCUMENT.split(f"\n## {command}\n")[1].split("\n## ")[0]
        flags = set(flags_reference.flags_of(command))
        assert "workdir" in flags
        if "All flags of `search`" in part:
            assert flags > settings
            flags -= settings | {"workdir"}
        assert {f"`--{name}`" for name in flags} <= set(re.findall(r"`--\w+`", part)), command


def test_sections_are_those_of_config_and_hold_every_setting_once(flags_reference):
    sections = flags_reference.sections()
    listed = [name for names in sections.values() for name in names]
    assert listed == [field.name for field in dataclasses.fields(Config)]
    assert next(iter(sections)) == "Data"
    assert "threshold" in sections["Stage 2, mask search (§3.3, §4.2)"]
    assert all(re.fullmatch(r"[A-Z].*[\w)]", title) for title in sections), (
        "a title was expected as the docstring of a group"
    )


@pytest.mark.parametrize(
    "line",
    [
        r"| `--seed` | whole number | `0` | 0 to 2147483647 | Seed of every random choice. |",
        r"| `--batch_size` | whole number | `128` | from 1 | Images in one step, over all replicas together. |",
        r"| `--mixed_precision` | true or false | `false` |  | Compute in bfloat16; masks, alpha, beta and losses stay "
        r"in float32. |",
        r"| `--mask_rates` | name | `absolute` | `absolute`, `relative` | Whether mask rates are Adam rates (the "
        r"paper's) or stage fractions. |",
    ],
)
def test_a_line_says_type_default_range_and_help(line):
    assert line in DOCUMENT.splitlines()


@pytest.mark.slow
def test_the_tool_writes_a_file(tmp_path):
    command = [sys.executable, str(TOOL), f"--into={tmp_path / 'flags.md'}"]
    subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, timeout=300)
    assert (tmp_path / "flags.md").read_text(encoding="utf-8") == DOCUMENT


def test_the_tool_refuses_words(flags_reference):
    with pytest.raises(app.UsageError, match="'docs/flags.md' is no flag"):
        flags_reference.main(["flags_reference.py", "docs/flags.md"])
