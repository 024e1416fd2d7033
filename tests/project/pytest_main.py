"""Runs pytest on the tests that lie directly in the given folders; what Bazel starts."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest


def files_in(folders: list[str]) -> list[str]:
    """Returns the test files of folders, without those of their sub-folders."""
    files = [str(path) for folder in folders for path in sorted(Path(folder).glob("test_*.py"))]
    if not files:
        raise SystemExit(f"expected folders with test_*.py files, received {folders}")
    return files


def options(environment: Mapping[str, str]) -> list[str]:
    """Returns the options of pytest that follow from what Bazel says: where to write, which tests to run."""
    found = ["-q", "-p", "no:cacheprovider"]
    if folder := environment.get("TEST_TMPDIR"):
        found += ["--basetemp", str(Path(folder) / "pytest")]
    if names := environment.get("TESTBRIDGE_TEST_ONLY"):  # bazel test --test_filter=NAMES
        found += ["-k", names]
    return found


def main(folders: list[str], environment: Mapping[str, str]) -> int:
    """Returns the exit code. A selection may leave nothing of a folder; without one that is an error."""
    code = pytest.main([*options(environment), *files_in(folders)])
    selected = environment.get("TESTBRIDGE_TEST_ONLY") or environment.get("PYTEST_ADDOPTS")
    if code == pytest.ExitCode.NO_TESTS_COLLECTED and selected:
        print(f"no test of {folders} is in the selection")
        return 0
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
