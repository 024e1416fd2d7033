"""Commands as users run them, in processes of their own, without loading TensorFlow for each of them again."""

from __future__ import annotations

import dataclasses
import functools
import multiprocessing
import os
import re
import runpy
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path
from unittest import mock

STAGES = ("supernet", "searched", "finetuned")  # of a search that searches
ROOT = Path(__file__).parents[2]
HANGS = 900  # seconds, after which a command will not end any more: a limit that no slow machine meets


@functools.cache
def _server() -> multiprocessing.context.ForkServerContext:
    """Returns what starts processes from one that has loaded everything a command needs and has computed nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["hmnas_tf.ablation.ablation", "hmnas_tf.command_line", "hmnas_tf.tuning.tuning", "hmnas_tf.runs.use"]
    )
    with mock.patch.dict(os.environ, PYTHONPATH=str(ROOT)):  # Python 3.11's server does not get sys.path
        forkserver.ensure_running()
    return context


@dataclasses.dataclass
class Command:
    """A command that runs or has run.

    Args:
        name: as in `python -m hmnas_tf.NAME`, or the path of a program, as in `python NAME.py`.
        arguments: the rest of the command line.
        output: folder for what it prints; made when missing.
        environment: added to this process's.
        directory: that it runs in.
        cores: that it may run on; none are those of this process.
    """

    name: str
    arguments: Sequence[str]
    output: Path
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    directory: Path = Path("/")
    cores: Sequence[int] = ()

    def __post_init__(self):
        self.output.mkdir(parents=True, exist_ok=True)
        recipe = (self.name, self.arguments, self.output, self.environment, self.directory, self.cores)
        self._process = _server().Process(target=_run, args=recipe, daemon=True)
        self._process.start()

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def send(self, number: int) -> None:
        os.kill(self._process.pid, number)

    def wait(self, seconds: float = HANGS) -> int:
        """Returns the exit code, minus the signal's number after a signal."""
        self._process.join(seconds)
        assert self._process.exitcode is not None, (
            f"{self.name} is still running after {seconds} s: {self.shown}"
        )
        return self._process.exitcode

    @property
    def shown(self) -> str:
        return self._read("out")

    @property
    def complained(self) -> str:
        return self._read("err")

    def _read(self, name: str) -> str:
        path = self.output / name  # it takes a moment to be there
        return path.read_text(encoding="utf-8") if path.exists() else ""


def wait_for(condition: Callable[[], object], command: Command) -> None:
    """Returns once a condition holds; fails if the command ends before."""
    while not condition():
        assert command.alive, (command.shown, command.complained)
        time.sleep(0.0005)


def refused(command: Command, words: Sequence[str]) -> None:
    """Asserts that a command ended with one line that has the words."""
    code = command.wait()
    lines = command.complained.splitlines()
    assert code == 2, (code, command.shown, lines[-5:])
    assert "Traceback" not in command.shown + command.complained
    ours = [line for line in lines if line.startswith(f"hmnas_tf.{command.name}: ")]
    assert len(ours) == 1, lines
    after = lines[lines.index(ours[0]) + 1 :]
    assert [line for line in after if not re.match(r"\w+: \d+ of \d+ ", line)] == []  # progress may go on
    assert [word for word in words if str(word) not in ours[0]] == [], ours[0]
    assert len(ours[0]) < 1000


def _run(
    name: str,
    arguments: Sequence[str],
    output: Path,
    environment: Mapping[str, str],
    directory: Path,
    cores: Sequence[int],
) -> None:
    if cores:
        os.sched_setaffinity(0, cores)
    for number in (signal.SIGHUP, signal.SIGTERM):  # as in a terminal, however these tests were started
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(environment)
    os.chdir(directory)
    for number, file in ((1, "out"), (2, "err")):
        os.dup2(os.open(output / file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.argv = [name, *arguments]
    if name.endswith(".py"):
        sys.path.insert(0, str(Path(name).parent))
        runpy.run_path(name, run_name="__main__")
    else:
        runpy.run_module(f"hmnas_tf.{name}", run_name="__main__", alter_sys=True)
