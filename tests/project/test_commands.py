"""What a user sees who types something wrong, in a process of its own; and the list of commands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hmnas_tf.__main__ import commands, main

ROOT = Path(__file__).parents[2]
SMALL = ("--dataset=digits", "--supernet_epochs=2", "--warmup_epochs=1")

# Arguments, and what the one line must say; {folder} is a folder of the test's, {file} a file in it.
ERRORS = {
    "wrong flag": (["--no_such_flag=1"], ["no_such_flag"]),
    "bad choice": (["--stem=vgg"], ["--stem=vgg", "cifar", "imagenet"]),
    "out of range": (["--weight_momentum=2"], ["--weight_momentum=2", "0.999"]),
    "stray word": (["{folder}/run", "--dataset=digits"], ["{folder}/run", "--name=value"]),
    "missing workdir": (["--dataset=digits"], ["--workdir"]),
    "unknown dataset": (
        ["--workdir={folder}/run", "--dataset=cifar11", "--data_dir={folder}"],
        ["cifar11", "cifar10"],
    ),
    "unprepared dataset": (
        ["--workdir={folder}/run", "--dataset=cifar10", "--data_dir={folder}"],
        ["cifar10", "not prepared", "--download", "--data_dir"],
    ),
    "unwritable workdir": (["--workdir={file}/run", *SMALL], ["{file}"]),
    "batch too large": (
        ["--workdir={folder}/run", "--batch_size=5000", *SMALL],
        ["batch_size=5000", "smaller"],
    ),
}


def run(*arguments: str) -> subprocess.CompletedProcess:
    """Starts `python ARGUMENTS` on this checkout."""
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def mistakes(tmp_path_factory):
    """Returns what each mistake gives; two at a time, because most of it is TensorFlow being loaded."""
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "file").touch()
    places = {"folder": str(folder), "file": str(folder / "file")}

    def make(case):
        arguments, words = ([text.format(**places) for text in texts] for texts in ERRORS[case])
        return words, run("-m", "hmnas_tf.search", *arguments)

    with ThreadPoolExecutor(2) as pool:
        results = dict(zip(ERRORS, pool.map(make, ERRORS), strict=True))
    assert not (folder / "run").exists(), "a mistake must not leave a run folder"
    return results


@pytest.mark.slow
@pytest.mark.parametrize("case", ERRORS)
def test_a_mistake_is_one_line_and_an_exit_code(mistakes, case):
    words, process = mistakes[case]
    assert process.returncode in (1, 2)
    assert "Traceback" not in process.stdout + process.stderr
    last = process.stderr.splitlines()[-1]
    assert last.startswith("hmnas_tf.search: ")
    assert [word for word in words if word not in last] == []
    assert process.stderr.count("hmnas_tf.search: ") == 1


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
