"""Paths for TensorFlow, which takes the name of a checkpoint or of a SavedModel for a pattern when it reads.

In `runs/lr[0.1]` it finds nothing and says that the file is damaged; nor can it say names that are no UTF-8.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hmnas_tf.console.paths import is_text


@contextlib.contextmanager
def plainly(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a path to the same file or folder that means itself as a pattern, too: as it is, or through a link.

    Args:
        path: need not exist yet, but the folder that it is in must.

    Raises:
        OSError: if no link can be made in the folder for temporary files.
    """
    path = Path(path)
    if is_text(path) and glob.escape(str(path)) == str(path) and "\\" not in str(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="hmnas_tf-") as folder:
        link = Path(folder, re.sub(r"[^A-Za-z0-9_.-]", "_", path.name))  # some readers look at its ending
        link.symlink_to(os.path.realpath(path), target_is_directory=True)
        yield link
