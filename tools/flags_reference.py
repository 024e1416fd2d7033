"""Writes docs/flags.md from the flags that the commands have.

python tools/flags_reference.py --into=docs/flags.md

Commands are found as `python -m hmnas_tf` finds them, and their flags are made as each of them makes its own. The
sections are the groups of `hmnas_tf/settings/`, by their docstrings.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import operator
import re
from collections.abc import Iterable

from absl import app, flags

from hmnas_tf.__main__ import commands
from hmnas_tf.config import Config
from hmnas_tf.console.paths import path_of
from hmnas_tf.storage import atomic

FLAGS = flags.FLAGS
WORDS = {  # absl's name of a type: ours
    "bool": "true or false",
    "comma separated list of strings": "names",
    "float": "number",
    "int": "whole number",
    "multi string": "text",
    "string": "text",
    "string enum": "name",
}
HEAD = """# Flags

Every flag of every command. Written by `python tools/flags_reference.py --into=docs/flags.md`; a test says when it is
out of date. `python -m hmnas_tf.search --help` shows the same.

A flag is given as `--name=value`. Of type *true or false*, `--name` and `--noname` do as well; *names* are a list with
commas. `--flagfile=FILE` reads flags from a file, one a line, lines that begin with `#` apart; what follows it on the
command line wins. `--workdir` is required everywhere. The settings of a search are fields of `hmnas_tf.Config` with the
same names and defaults. An unknown flag, or a value out of range, is one line on standard error and exit code 2.
"""


def flags_of(command: str) -> flags.FlagValues:
    """Returns the flags of a command, made by the calls at its end that define them."""
    module = importlib.import_module(f"hmnas_tf.{command}")
    values = flags.FlagValues()
    main = ast.parse(inspect.getsource(module.main))
    for call in (node for node in ast.walk(main) if isinstance(node, ast.Call)):
        function = ast.unparse(call.func)
        if function.rpartition(".")[2].startswith("define_"):
            texts = map(ast.literal_eval, call.args)
            operator.attrgetter(function)(module)(*texts, flag_values=values)
    return values


def sections() -> dict[str, list[str]]:
    """Returns the names of the settings under the titles of their groups."""
    groups = [group for group in reversed(Config.__mro__) if "__annotations__" in vars(group)]
    return {inspect.getdoc(group).rstrip("."): list(vars(group)["__annotations__"]) for group in groups}


def rows(values: flags.FlagValues, names: Iterable[str]) -> list[str]:
    """Returns the lines of a table of flags."""
    lines = ["| flag | type | default | accepts | |", "|---|---|---|---|---|"]
    for name in names:
        flag = values[name]
        text, _, known = re.sub(r"^<.*?>: |;\s+repeat this option .*", "", flag.help).partition(" Known: ")
        cells = [f"`--{name}`", WORDS[flag.flag_type()], _default(flag), _accepted(flag, known), text]
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return lines


def _default(flag: flags.Flag) -> str:
    value = flag.default
    if isinstance(value, list):
        value = ",".join(value)
    if isinstance(value, bool):
        value = str(value).lower()
    return "" if value in (None, "") else f"`{value}`"


def _accepted(flag: flags.Flag, known: str) -> str:
    if known:
        return ", ".join(f"`{name}`" for name in known.rstrip(".").split(", "))
    if values := getattr(flag.parser, "enum_values", None):
        return ", ".join(f"`{name}`" for name in values)
    low, high = (getattr(flag.parser, f"{end}_bound", None) for end in ("lower", "upper"))
    if low is None:
        return ""
    return f"from {low:g}" if high is None else f"{low:g} to {high:.10g}"


def document() -> str:
    """Returns docs/flags.md."""
    found, settings = commands(), sections()
    of_config = {name for names in settings.values() for name in names}
    of_search = set(flags_of("search"))
    parts = [HEAD]
    for command in sorted(found, key=lambda name: (name != "search", name)):
        values = flags_of(command)
        parts.append(f"## {command}\n\n{found[command]}\n")
        own = list(values)
        if command == "search":
            own = [name for name in own if name not in of_config]
        elif of_search <= set(values):
            parts.append("All flags of `search`, and these:\n")
            own = [name for name in own if name not in of_search]
        parts.append("\n".join(rows(values, own)) + "\n")
        if command == "search":
            for title, names in settings.items():
                parts.append(f"### {title}\n\n" + "\n".join(rows(values, names)) + "\n")
    return "\n".join(parts)


def main(argv: list[str]) -> None:
    """Writes the document, or prints it."""
    if len(argv) > 1:
        raise app.UsageError(f"{argv[1]!r} is no flag.")
    if FLAGS.into:
        atomic.write_text(path_of(FLAGS.into, "into"), document())
    else:
        print(document(), end="")


if __name__ == "__main__":
    flags.DEFINE_string("into", None, "Markdown file to write; none prints it.")
    app.run(main)
