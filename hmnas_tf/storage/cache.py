"""What is kept for all runs of a user: measurements of this machine, packages that were fetched."""

from __future__ import annotations

import os
from pathlib import Path


def cached(name: str) -> Path:
    """Returns the place of a file that is kept for all runs, below `$XDG_CACHE_HOME` or `~/.cache`."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "hmnas_tf" / name
