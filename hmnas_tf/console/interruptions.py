"""Ctrl-C, a closed terminal, a polite kill: how a command is told to stop, and what it says then (pure Python).

A signal that is ignored when the command is started, as `nohup` does with SIGHUP, stays ignored.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

NAMES = {  # the signals that ask a command to stop
    signal.SIGINT: "Ctrl-C (SIGINT)",
    signal.SIGTERM: "SIGTERM",
    signal.SIGHUP: "a closed terminal (SIGHUP)",
}
EXIT_CODES = {128 + number: number for number in NAMES}  # as shells have them


def stop(number: int) -> NoReturn:
    """Ends what is being done, as a signal asked: by KeyboardInterrupt, as Python does it, or by SystemExit."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def stopped_by(error: BaseException | None) -> int | None:
    """Returns the signal that an exception of `stop` stands for, or that it came of; None if there is none.

    Libraries that are interrupted in the middle may raise an error of their own while they put things away.
    """
    if error is None:
        return None
    if isinstance(error, KeyboardInterrupt):
        return signal.SIGINT
    if isinstance(error, SystemExit) and error.code in EXIT_CODES:
        return EXIT_CODES[error.code]
    return stopped_by(error.__cause__ or error.__context__)


@contextlib.contextmanager
def handled_by(handler: Callable[[int], object]) -> Iterator[None]:
    """Inside, a handler is called with the number of each of the signals; elsewhere than in the main thread none is."""
    terminals = [number for number in (1, 2) if os.isatty(number)]
    before = {}

    def on_signal(number: int, _: Any) -> None:
        _let_go(terminals)
        handler(number)

    try:
        for number in NAMES:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, on_signal)
    except ValueError:  # not in the main thread, where nobody can send us one
        pass
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextlib.contextmanager
def told(tell: Callable[[str], object], then: str) -> Iterator[None]:
    """Inside, a signal ends what is being done; the process then ends with one line and the exit code that shells have.

    The first signal raises an exception, so that everything is put away; whoever has something to save handles it
    himself for that long. A further one ends the process at once: files are whole at any time.

    Args:
        tell: shows a line.
        then: how to go on.

    Raises:
        SystemExit: with 128 and the signal's number.
    """
    received: list[int] = []

    def show() -> None:
        with contextlib.suppress(OSError, RuntimeError):  # nobody reads; or it came while a line was written
            tell(f"stopped by {NAMES[received[0]]}. {then}")

    def handler(number: int) -> None:
        received.append(number)
        if len(received) > 1:
            show()
            os._exit(128 + received[0])
        stop(number)

    try:
        with handled_by(handler):
            yield
    except BaseException as error:
        received = received or [number for number in (stopped_by(error),) if number is not None]
        if not received:
            raise
        for number in NAMES:  # the end is near, and a further one would only be traced back
            signal.signal(number, signal.SIG_IGN)
        show()
        raise SystemExit(128 + received[0]) from None


def _let_go(terminals: Sequence[int]) -> None:
    """Writes no more to terminals that are gone, where every line would be an error."""
    for number in terminals:
        if not os.isatty(number):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)
