"""The tool that knows every command's flags."""

from __future__ import annotations

from types import ModuleType

import flags_reference as tool
import pytest


@pytest.fixture(scope="session")
def flags_reference() -> ModuleType:
    """tools/flags_reference.py as a module."""
    return tool
