"""onnxruntime for browsers: npm's package, fetched once by npm and kept for all runs of a user.

One version, whose content is known by its digest, is what pages were tested with. So it is taken neither from a
`node_modules` that happens to be near, nor from the network each time: what is exported does not depend on where a
command is typed, and works without a network from the second time on. A machine without npm or a network takes the
file that `npm pack` has written on another one.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

from hmnas_tf.storage import atomic
from hmnas_tf.storage.cache import cached

NAME = "onnxruntime-web"
VERSION = "1.30.0"
# Base64 of its SHA-512, as lock files have it.
INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
PACK = f"npm pack {NAME}@{VERSION}"
LONGEST = 600  # seconds that npm may take


def kept_package() -> Path:
    """Returns where the package is kept."""
    return cached(f"{NAME}-{VERSION}.tgz")


def package() -> Path:
    """Returns the package, which is fetched if it is not kept yet.

    Raises:
        ImportError: if it cannot be had, with what to do about it.
    """
    path = kept_package()
    if not path.is_file() or not _is_sound(path):
        _fetch(path)
    return path


def missing_package() -> list[str]:
    """Returns why the package cannot be had in one line; [] if it can: it is then here, also without a network."""
    try:
        package()
    except ImportError as error:
        return [str(error)]
    return []


def members(names: Iterable[str]) -> dict[str, bytes]:
    """Returns the contents of files of the package, by their names in it.

    Raises:
        ImportError: if it cannot be had.
    """
    with tarfile.open(package()) as archive:
        return {name: archive.extractfile(f"package/{name}").read() for name in names}


def _fetch(path: Path) -> None:
    npm, otherwise = shutil.which("npm"), f"put what {PACK!r} writes on another machine into {path.parent}"
    if npm is None:
        raise ImportError(
            f"web: expected {path}, or npm to fetch it, received neither: install Node.js, or {otherwise}"
        )
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, *PACK.split()[1:], "--ignore-scripts", "--prefer-offline", "--fetch-retries=1"]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, check=False, timeout=LONGEST
            )
            said = [line for line in done.stderr.splitlines() if line.startswith("npm error")]
            reason = said[0].removeprefix("npm error ") if said else f"exit code {done.returncode}"
        except subprocess.TimeoutExpired:
            reason = f"no answer within {LONGEST} seconds"
        found = list(Path(folder).glob("*.tgz"))
        if not found:
            raise ImportError(f"web: {PACK!r} failed ({reason}): try again with a network, or {otherwise}")
        if not _is_sound(found[0]):
            raise ImportError(
                f"web: {PACK!r} gave another file than this version of hmnas_tf was made with: see what your registry "
                f"has under this name, or {otherwise}"
            )
        atomic.write_bytes(path, found[0].read_bytes())


def _is_sound(path: Path) -> bool:
    with path.open("rb") as file:
        return base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode() == INTEGRITY
