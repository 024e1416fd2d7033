"""Flags are an interface: tests/project/flags.txt has every one, and a new one is a decision that the diff shows."""

from __future__ import annotations

from pathlib import Path

from hmnas_tf.__main__ import commands

LIST = Path(__file__).with_name("flags.txt")


def lines(flags_reference) -> list[str]:
    """Returns a line for each flag of each command; those that a command has from `search` are one line."""
    of_search = {name: flag.flag_type() for name, flag in _flags(flags_reference, "search")}
    found = []
    for command in commands():
        own = {name: flag.flag_type() for name, flag in _flags(flags_reference, command)}
        if command != "search" and of_search.items() <= own.items():
            found.append(f"{command}: all of search")
            own = {name: kind for name, kind in own.items() if name not in of_search}
        found += [f"{command} --{name}: {kind}" for name, kind in sorted(own.items())]
    return found


def _flags(flags_reference, command: str) -> list:
    values = flags_reference.flags_of(command)
    return [(name, values[name]) for name in values]


def test_flags_are_those_that_were_decided(flags_reference):
    found, decided = lines(flags_reference), LIST.read_text(encoding="utf-8").splitlines()
    new, gone = sorted(set(found) - set(decided)), sorted(set(decided) - set(found))
    assert not new, f"write it into {LIST.name}, CHANGELOG.md and docs/flags.md: {'; '.join(new)}"
    assert not gone, f"whoever used it gets an error; if that is meant, take it out of {LIST.name}: {gone}"
    assert found == decided, f"{LIST.name} has another order, or a line twice"
