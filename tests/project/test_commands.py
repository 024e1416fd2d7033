"""What a user sees who types something wrong, in a process of its own; and the list of commands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hmnas_tf.__main__ import commands, main

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess:
    """Starts `python ARGUMENTS` on this checkout."""
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.mark.slow
def test_a_mistake_is_one_line_and_an_exit_code(tmp_path):
    """All others are in tests/reliability/test_bad_input.py."""
    process = run("-m", "hmnas_tf.search", f"--workdir={tmp_path / 'run'}", "--no_such_flag=1")
    assert process.returncode == 2
    assert "Traceback" not in process.stderr
    assert process.stderr.splitlines()[-1].startswith("hmnas_tf.search: ")
    assert "no_such_flag" in process.stderr.splitlines()[-1]
    assert not (tmp_path / "run").exists(), "a mistake must not leave a run folder"


def test_the_list_of_commands_has_a_line_for_each(capsys):
    assert main(["hmnas_tf"]) == 0
    shown = capsys.readouterr().out
    for name, description in commands().items():
        assert re.search(rf"^  python -m hmnas_tf\.{name} +{re.escape(description)}$", shown, re.MULTILINE)
        assert description.endswith(".")


def test_search_is_a_command_and_the_list_is_none():
    assert "search" in commands()
    assert "__main__" not in commands()
    assert "config" not in commands()


def test_a_stray_word_is_refused(capsys):
    assert main(["hmnas_tf", "search"]) == 2
    assert "'search'" in capsys.readouterr().err


def test_listing_does_not_load_tensorflow():
    code = (
        "import sys, runpy\n"
        "sys.argv = ['hmnas_tf', '--help']\n"
        "try:\n    runpy.run_module('hmnas_tf', run_name='__main__')\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "assert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules)"
    )
    process = run("-c", code)
    assert process.returncode == 0, process.stderr
    assert "python -m hmnas_tf.search" in process.stdout
