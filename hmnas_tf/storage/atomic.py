"""Files and folders that appear whole or not at all (pure Python).

A run may be killed at any moment and is then continued from what it left, so nothing of the project is ever written
in place: the bytes go to a temporary name in the same folder, are flushed to the disk and then renamed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# What rename(2) answers when another publisher has just taken the number.
_TAKEN = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR})


@contextlib.contextmanager
def replacing(path: str | os.PathLike, suffix: str | None = None) -> Iterator[Path]:
    """Yields a temporary path beside `path` and renames it to `path` once the block has succeeded.

    For writers that insist on opening the file themselves. Missing folders are made. A block that raises leaves what
    stood at `path` before untouched and no temporary file.

    Args:
        path: where the file shall appear; one that exists is replaced.
        suffix: how the temporary name ends; by default as `path` does, because some writers look at it (`.keras`).

    Yields:
        A path that does not exist yet, in the same folder (a rename across file systems is not atomic).

    Raises:
        OSError: when the folder cannot be written, the disk is full, or the block wrote no file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile.mkstemp: it would make the file 0600, whatever the user's umask says.
    ending = path.suffix if suffix is None else suffix
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(6)}{ending}")
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
        _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
    """Writes `data` to `path`, whole or not at all.

    Args:
        path: the file; one that exists is replaced.
        data: its whole content.

    Raises:
        OSError: when the folder cannot be written or the disk is full.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes `text` to `path` in UTF-8, whole or not at all; line ends stay as they are.

    Args:
        path: the file; one that exists is replaced.
        text: its whole content.

    Raises:
        OSError: when the folder cannot be written or the disk is full.
    """
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | os.PathLike, obj: Any) -> None:
    """Writes `obj` to `path` as JSON that any reader accepts, whole or not at all.

    Keys keep their order, two blanks indent, the last line is ended.

    Args:
        path: the file; one that exists is replaced.
        obj: dicts, lists, strings, finite numbers, booleans and None.

    Raises:
        ValueError: on NaN or infinity, which are not JSON; the file is then untouched.
        TypeError: on an object that JSON cannot express.
        OSError: when the folder cannot be written or the disk is full.
    """
    write_text(path, json.dumps(obj, indent=2, allow_nan=False) + "\n")


@contextlib.contextmanager
def replacing_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a new folder, which becomes `path`, with what the block has put into it, once the block has succeeded.

    A folder cannot be renamed onto one that has files. So the old one is renamed first, and for a moment there is none:
    a process that is killed just then leaves both in a folder beside `path` whose name starts with a dot.

    Args:
        path: where the folder shall appear; one that exists is replaced with all its files.

    Yields:
        An empty folder of the same name, elsewhere in the same file system.

    Raises:
        OSError: when the folder cannot be written or the disk is full; what stood at `path` before is still there.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as beside:
        fresh, old = Path(beside, path.name), Path(beside, "replaced")
        fresh.mkdir()
        yield fresh
        _flush_all(fresh)
        try:
            if path.exists():
                os.rename(path, old)
            os.rename(fresh, path)
        except BaseException:
            if old.exists() and not path.exists():
                os.rename(old, path)
            raise
        _flush(path.parent)


def publish_directory(write: Callable[[Path], None], base: str | os.PathLike) -> Path:
    """Writes a folder and publishes it as the next free integer version `base/N`.

    For TF Serving, which polls `base` and loads any integer name at once and ignores all others: the folder is filled
    under a name that starts with a dot and renamed when it is complete. A published version is never overwritten,
    because a server does not read the same number twice. Several processes may publish at the same time.

    Args:
        write: called with the temporary folder; whatever it raises ends the publication. Checks belong into it.
        base: folder of the versions; made when missing.

    Returns:
        The published `base/N`: one above the highest number there, 1 in an empty folder.

    Raises:
        OSError: when `base` cannot be written or the disk is full.
    """
    base = Path(base)
    base.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".tmp-publish-", dir=base))
    try:
        temporary.chmod(0o755)  # mkdtemp makes 0700, which a server under another user cannot read
        write(temporary)
        _flush_all(temporary)
        target = _rename_to_next_version(temporary, base)
        _flush(base)
        return target
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _rename_to_next_version(temporary: Path, base: Path) -> Path:
    while True:
        # Files count too: rename onto a numeric file fails, and a server takes it for a version.
        versions = [
            int(entry.name) for entry in base.iterdir() if entry.name.isascii() and entry.name.isdigit()
        ]
        target = base / str(max(versions, default=0) + 1)
        try:
            os.rename(temporary, target)
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
        else:
            return target


def _flush_all(folder: Path) -> None:
    """Forces a folder, and all that is in it, to the disk."""
    for inner, _, files in os.walk(folder):
        for name in (*files, "."):
            _flush(Path(inner, name))


def _flush(path: Path) -> None:
    """Forces a file, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
