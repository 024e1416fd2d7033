"""What a user sees who types something wrong, in a process of its own; and the list of commands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hmnas_tf.__main__ import commands, main
from hmnas_tf.console.quiet import NO_DRIVER, is_hidden

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
    (line,) = process.stderr.splitlines()  # and none of TensorFlow's
    assert line.startswith("hmnas_tf.search: ")
    assert "no_such_flag" in line
    assert not (tmp_path / "run").exists(), "a mistake must not leave a run folder"


@pytest.mark.slow
def test_tensorflow_says_nothing_when_it_looks_for_gpus(tmp_path):
    process = run("-m", "hmnas_tf.report", f"--workdir={tmp_path / 'run'}")
    (line,) = process.stderr.splitlines()
    assert "holds no run" in line


LINES = {  # the levels that hide a line
    "I0000 00:00:1795653248.859336   22943 port.cc:153] oneDNN custom operations are on.": "123",
    "2025-09-17 14:44:05.157831: I external/xla/tsl/cuda/cudart_stub.cc:32] Could not find cuda": "123",
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR": "123",
    "W0000 00:00:1795653248.859336   22943 gpu_device.cc:2] Cannot dlopen some GPU libraries.": "23",
    f"E0000 00:00:1795653248.859336   22943 cuda_platform.cc:52] {NO_DRIVER}": "23",
    "E0000 00:00:1795653248.859336   22943 cuda_platform.cc:52] failed call to cuInit: CUDA_ERROR_NO_DEVICE": "3",
    "F0000 00:00:1795653248.859336   22943 cpu_feature_guard.cc:4] compiled to use AVX instructions": "",
    "Traceback (most recent call last):": "",
    "hmnas_tf.search: --workdir is missing": "",
}


@pytest.mark.parametrize("line", LINES)
def test_levels_hide_what_they_should(line):
    assert "".join(level for level in "0123" if is_hidden(line, int(level))) == LINES[line]


@pytest.mark.parametrize(("level", "shown"), [("2", "E"), ("0", "IE"), ("", "IE")])
def test_what_is_not_hidden_comes_through_when_the_process_dies(level, shown):
    code = (
        "import os\n"
        "from hmnas_tf.console.quiet import quietly\n"
        f"os.environ['TF_CPP_MIN_LOG_LEVEL'] = '{level}'\n"
        "with quietly():\n"
        "    os.write(2, b'I0000 00:00:1.5 1 a.cc:1] x\\nE0000 00:00:1.5 1 a.cc:1] y\\n')\n"
        "    os.abort()"
    )
    assert "".join(line[0] for line in run("-c", code).stderr.splitlines()) == shown


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
