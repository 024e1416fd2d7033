"""Keeps TensorFlow's notices of its start away from the user (pure Python).

TensorFlow 2.21 writes them to standard error before it reads TF_CPP_MIN_LOG_LEVEL. Here that variable is obeyed, with
TensorFlow's meaning: 0 hides nothing, 1 info, 2 warnings too, 3 errors too. What the user has set is left as it is;
else it is 2, see `hmnas_tf/__init__.py`. A machine without NVIDIA's driver is no error: 2 hides that as well.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

START = "import runpy, sys; runpy.run_path(sys.argv[1])['sift']()"  # this file, no command that is listed
LEVEL = "TF_CPP_MIN_LOG_LEVEL"
SEVERITIES = "IWE"  # in the order in which a higher level hides them; never F, which ends the program
PREAMBLE = "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR"
NO_DRIVER = "failed call to cuInit: INTERNAL: CUDA error: Failed call to cuInit: UNKNOWN ERROR (303)"
RECORD = re.compile(r"(?:\d{4}-\d\d-\d\d [\d:.]+: )?([IWEF])(?:\d{4} [\d:.]+ +\d+)? \S+\.(?:cc|h):\d+\] ")


@contextmanager
def quietly() -> Iterator[None]:
    """While TensorFlow is loaded or looks for GPUs inside, standard error is rid of its notices.

    A process of its own does it, so that nothing is lost when TensorFlow ends this one, as it does on a processor
    that it was not built for.
    """
    if not os.environ.get(LEVEL, "").isdecimal():
        yield
        return
    sys.stderr.flush()
    shown = os.dup(2)
    command = [sys.executable, "-I", "-S", "-c", START, __file__]
    sieve = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=shown)
    os.dup2(sieve.stdin.fileno(), 2)
    sieve.stdin.close()
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(shown, 2)
        os.close(shown)
        sieve.wait()


def is_hidden(line: str, level: int) -> bool:
    """Returns whether a line on standard error is a notice of TensorFlow's that a level hides."""
    if level >= 2 and NO_DRIVER in line:
        return True
    found = RECORD.match(line)
    return found[1] in SEVERITIES[:level] if found else level > 0 and line.startswith(PREAMBLE)


def sift() -> None:
    """Copies standard input to standard error, without what is hidden."""
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGHUP,
    ):  # they are for the process whose words these are
        signal.signal(number, signal.SIG_IGN)
    level = int(os.environ[LEVEL])
    for line in iter(sys.stdin.readline, ""):
        if not is_hidden(line, level):
            sys.stderr.write(line)
            sys.stderr.flush()
