"""Who may write into a folder: one process at a time, into a run folder of several workers the chief (pure Python)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from hmnas_tf.console.progress import Say

WORKERS = "workers"  # folder in a run folder: what workers other than the chief write while they run
_LOOKS_AGAIN = 0.5  # seconds
_NOT_COPIED = (WORKERS, "tensorboard", ".*")  # the last: files being written, gone a moment later


@contextlib.contextmanager
def held(workdir: str | os.PathLike) -> Iterator[Path]:
    """Keeps every other process from writing into a run folder; a process that is killed lets go of it.

    Args:
        workdir: the folder; made when missing.

    Raises:
        ValueError: if another process holds it, naming that process, or if nothing can be written into it.
        OSError: if the folder cannot be written.
    """
    path = Path(workdir)
    path.mkdir(parents=True, exist_ok=True)
    require_writable(path, "a run")
    with open(path / ".lock", "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"workdir {str(path)!r} is in use by {_holder(file)}: wait until it ends, or take another --workdir."
            ) from error
        _sign(file)
        yield path


@contextlib.contextmanager
def alone_in(folder: str | os.PathLike, say: Say) -> Iterator[None]:
    """Waits until no other process is in a folder, and keeps others waiting; a process that is killed leaves it.

    Args:
        folder: that exists.
        say: shows a line to the user where there is somebody to wait for.

    Raises:
        OSError: if the folder cannot be written.
    """
    with open(Path(folder) / ".lock", "a+", encoding="utf-8") as file:
        is_told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not is_told:
                    say(f"waiting for {_holder(file)}, which is at work in {folder}")
                is_told = True
                time.sleep(_LOOKS_AGAIN)
        _sign(file)
        yield


def _holder(file: TextIO) -> str:
    file.seek(0)
    return file.read().strip() or "another process"


def _sign(file: TextIO) -> None:
    """Writes into a locked file who holds it; in place, because the lock is on this very file."""
    file.truncate(0)
    file.write(f"process {os.getpid()} on {platform.node()}\n")
    file.flush()


def require_writable(workdir: str | os.PathLike, what: str) -> None:
    """Refuses a folder that nothing can be written into, before what is to be kept there costs anything.

    Args:
        workdir: the folder, which is there.
        what: is to be kept in it.

    Raises:
        ValueError: saying what to do.
    """
    if not os.access(workdir, os.W_OK | os.X_OK):
        raise ValueError(
            f"workdir {str(workdir)!r} cannot be written, and {what} is kept in it: copy it to where you may write, "
            "and pass that --workdir."
        )


@contextlib.contextmanager
def copied(workdir: str | os.PathLike, worker: int) -> Iterator[Path]:
    """Yields a copy of a run folder that a worker other than the chief reads and writes; it is removed at the end.

    So every worker runs the same code from the same state, and only the chief changes the run folder.

    Args:
        workdir: the chief's folder, as it is before the workers begin.
        worker: number of this one.

    Raises:
        OSError: if it cannot be copied.
    """
    copy = Path(workdir) / WORKERS / str(worker)
    shutil.rmtree(copy, ignore_errors=True)  # left by a kill
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(workdir, copy, ignore=shutil.ignore_patterns(*_NOT_COPIED))
    try:
        yield copy
    finally:
        shutil.rmtree(copy, ignore_errors=True)
        with contextlib.suppress(OSError):  # others have theirs in it
            copy.parent.rmdir()
