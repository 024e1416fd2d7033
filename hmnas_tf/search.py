"""Searches, cuts, fine-tunes, evaluates and exports a network: `python -m hmnas_tf.search --flagfile=...`.

Running it again on the same `--workdir` continues where it stopped.
"""

from __future__ import annotations

import inspect
import sys
import types
from pathlib import Path
from typing import Any

from hmnas_tf import command_line
from hmnas_tf.command_line import say
from hmnas_tf.console.ending import start_and_end


class _Module(types.ModuleType):
    """`hmnas_tf.search` is a function, also after this module of the same name has been imported."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from hmnas_tf.algorithm import search

        return search(*args, **kwargs)

    @property
    def __signature__(self) -> inspect.Signature:
        """What `help` and editors show: the arguments of the function."""
        from hmnas_tf.algorithm import search

        return inspect.signature(search)


sys.modules[__name__].__class__ = _Module


def run(workdir: Path) -> None:
    """Runs the command."""
    config = command_line.settings()
    dataset = command_line.given(config)
    from hmnas_tf.algorithm import search

    search(dataset, config, workdir, say=say)


def main() -> None:
    """Does what the command line says; a program of your own that adds to the project can call it."""
    command_line.define_flags()
    command_line.start("search", run)


if __name__ == "__main__":
    start_and_end(main)
