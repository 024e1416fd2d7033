"""A flag's default, help and range as a field of a dataclass, and the check that a value lies in the range."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any


def flag(
    default: Any, help: str, *, low: float | None = None, high: float | None = None, path: bool = False
) -> Any:
    """Returns a field; a range that is open on one side has None there.

    Args:
        default: whose type is the flag's.
        help: one sentence, with the unit.
        low: the least that is accepted.
        high: the most.
        path: whether it names a file or a folder, or may do so.
    """
    return dataclasses.field(default=default, metadata={"help": help, "low": low, "high": high, "path": path})


def check_range(field: dataclasses.Field, value: Any) -> None:
    """Refuses a value of a field made by `flag` that is no number, no whole one, or out of range.

    Raises:
        ValueError: naming the flag, the value and what is accepted.
    """
    low, high = field.metadata["low"], field.metadata["high"]
    if low is None and high is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise ValueError(f"{field.name}={value!r} is not a number.")
    if isinstance(field.default, int) and not isinstance(value, int):
        raise ValueError(f"{field.name}={value} must be a whole number.")
    if (low is not None and value < low) or value > (high if high is not None else sys.float_info.max):
        accepted = f"at least {low}" if high is None else f"between {low} and {high}"
        raise ValueError(f"{field.name}={value} is out of range: it must be {accepted}.")
