"""The tool that knows every command's flags."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def flags_reference() -> ModuleType:
    """tools/flags_reference.py as a module."""
    path = Path(__file__).parents[2] / "tools" / "flags_reference.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
