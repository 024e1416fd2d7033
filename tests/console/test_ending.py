"""A command that has done everything ends without taking anything apart; any other ends as Python does."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
    import atexit, os, sys
    from hmnas_tf.console.ending import start_and_end

    class Network:
        def __del__(self):
            print("taken apart")

    network = Network()
    atexit.register(print, "at exit")
    print("done", end=" ")
    start_and_end(lambda: {end})
"""


@pytest.mark.parametrize(
    ("end", "worker", "said", "code"),
    [
        ("None", False, "done at exit\n", 0),
        ("sys.exit()", False, "done at exit\n", 0),
        ("sys.exit(2)", False, "done at exit\ntaken apart\n", 2),
        ("sys.exit('a line')", False, "done at exit\ntaken apart\n", 1),
        ("1 / 0", False, "done at exit\ntaken apart\n", 1),
        ("None", True, "done at exit\ntaken apart\n", 0),
    ],
)
def test_only_what_is_done_ends_at_once(end, worker, said, code, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if worker:
        monkeypatch.setenv("TF_CONFIG", "{}")
    program = textwrap.dedent(PROGRAM).format(end=end)
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (result.stdout, result.returncode) == (said, code)
    assert ("a line" in result.stderr) == ("a line" in end)
    assert ("ZeroDivisionError" in result.stderr) == ("/" in end)
