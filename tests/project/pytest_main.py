"""Runs pytest on the tests that lie directly in the given folders; what Bazel starts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest


def files_in(folders: list[str]) -> list[str]:
    """Returns the test files of folders, without those of their sub-folders."""
    files = [str(path) for folder in folders for path in sorted(Path(folder).glob("test_*.py"))]
    if not files:
        raise SystemExit(f"expected folders with test_*.py files, received {folders}")
    return files


if __name__ == "__main__":
    sys.exit(pytest.main(["-q", *files_in(sys.argv[1:])]))
