"""Being told to stop: one line, the exit code that shells have, no traceback; what is ignored stays ignored."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from hmnas_tf.console.interruptions import NAMES, handled_by, stop, stopped_by, told

ROOT = Path(__file__).parents[2]
START = """
import signal
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as in a terminal, however these tests were started
signal.signal(signal.SIGINT, signal.default_int_handler)
"""
PROGRAM = """
import os, signal, sys, time
from hmnas_tf.console.interruptions import handled_by, told, stop

def tell(line):
    print(f"me: {{line}}", file=sys.stderr, flush=True)

try:
    with told(tell, "Start it again."):
        try:
{work}
        finally:
            print("put away", flush=True)
finally:
    {end}
"""


def run(work: str, *, end: str = "pass", before: str = "") -> subprocess.CompletedProcess:
    """Runs a program that does some work while it can be told to stop."""
    source = START + before + PROGRAM.format(work=textwrap.indent(textwrap.dedent(work), 12 * " "), end=end)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", source], env=environment, capture_output=True, text=True, timeout=600
    )


def send(number: int) -> str:
    return f"os.kill(os.getpid(), {int(number)})\ntime.sleep(9)\n"


@pytest.mark.parametrize("number", NAMES)
def test_a_signal_is_one_line_and_the_exit_code_of_shells(number):
    process = run(send(number))
    assert process.returncode == 128 + number
    assert process.stderr == f"me: stopped by {NAMES[number]}. Start it again.\n"
    assert process.stdout == "put away\n"


def test_what_a_library_makes_of_it_does_not_matter():
    for made in ("raise ValueError('within')", "sys.exit(2)", "raise RuntimeError from None"):
        process = run(
            f"try:\n    {send(2).splitlines()[0]}\n    time.sleep(9)\nexcept BaseException:\n    {made}\n"
        )
        assert (process.returncode, process.stderr.count("\n")) == (130, 1)
        assert process.stderr.startswith("me: stopped by Ctrl-C")


@pytest.mark.parametrize("number", list(NAMES))
@pytest.mark.parametrize("made", [ValueError("within"), SystemExit(2)])
def test_what_comes_of_another_handlers_stop_is_a_stop(number, made, as_in_a_terminal):
    lines: list[str] = []
    with pytest.raises(SystemExit) as caught, told(lines.append, "Start it again."):
        try:
            stop(number)
        finally:
            try:
                raise made
            except BaseException as error:
                raise RuntimeError from error
    assert caught.value.code == 128 + number
    assert lines == [f"stopped by {NAMES[number]}. Start it again."]


def test_a_further_one_ends_what_takes_too_long_and_tells_the_first():
    process = run(
        f"try:\n    {send(15).splitlines()[0]}\nfinally:\n    os.kill(os.getpid(), 2)\n    time.sleep(9)\n"
    )
    assert process.returncode == 143
    assert process.stderr == "me: stopped by SIGTERM. Start it again.\n"


def test_a_further_one_at_the_very_end_is_not_traced_back():
    process = run(send(2), end="os.kill(os.getpid(), 2); time.sleep(0.1)")
    assert (process.returncode, process.stderr.count("\n")) == (130, 1)


def test_what_is_ignored_when_it_starts_stays_ignored():
    ignored = (
        "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\nsignal.signal(2, signal.SIG_IGN)\n"
    )
    work = "os.kill(os.getpid(), signal.SIGHUP)\nos.kill(os.getpid(), 2)\ntime.sleep(0.1)\nprint('went on')\n"
    process = run(work, before=ignored)
    assert (process.returncode, process.stdout, process.stderr) == (0, "went on\nput away\n", "")


def test_a_terminal_that_is_gone_is_written_to_no_more():
    """Its end of the line is closed while the program runs: to write would be an error."""
    leader, follower = os.openpty()
    source = START + PROGRAM.format(
        work=textwrap.indent("print('ready')\nsys.stdout.flush()\ntime.sleep(30)\n", 12 * " "), end="pass"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", source],
        env=environment,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    )
    os.close(follower)
    assert b"ready" in os.read(leader, 100)
    os.close(leader)
    process.send_signal(signal.SIGHUP)
    assert process.wait(600) == 129


def test_other_ends_are_as_they_were():
    lines: list[str] = []
    for error in (ValueError("x"), SystemExit(2), SystemExit(0)):
        with pytest.raises(type(error)) as caught, told(lines.append, ""):
            raise error
        assert caught.value is error
    assert lines == []


@pytest.fixture
def as_in_a_terminal() -> Iterator[None]:
    """None of the signals is ignored, however these tests were started."""
    found = {number: signal.signal(number, signal.default_int_handler) for number in NAMES}
    yield
    for number, handler in found.items():
        signal.signal(number, handler)


def test_handlers_are_given_back_and_stop_is_understood(as_in_a_terminal):
    before = [signal.getsignal(number) for number in NAMES]
    received: list[int] = []
    with handled_by(received.append):
        for number in NAMES:
            os.kill(os.getpid(), number)
    assert received == list(NAMES)
    assert [signal.getsignal(number) for number in NAMES] == before
    for number in NAMES:
        with pytest.raises(BaseException) as caught:
            stop(number)
        assert stopped_by(caught.value) == number
    assert stopped_by(SystemExit(2)) is None
    assert stopped_by(ValueError()) is None
