"""Lists the commands: `python -m hmnas_tf`."""

from __future__ import annotations

import ast
import sys
from pathlib import Path


def commands() -> dict[str, str]:
    """Returns the name and the one-line description of every command.

    A command is a module of the package that does something when it is started. The modules are read, not imported,
    because TensorFlow takes seconds to load.
    """
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if path.stem != "__main__" and any(map(is_start, tree.body)):
            found[path.stem] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return found


def is_start(statement: ast.stmt) -> bool:
    """Returns whether a statement of a module is what it does when it is started."""
    return isinstance(statement, ast.If) and ast.unparse(statement.test) == "__name__ == '__main__'"


def main(argv: list[str]) -> int:
    """Prints the commands; returns the exit code, 2 if there are words that nobody reads."""
    if len(argv) > 1 and argv[1:] not in (["--help"], ["-h"]):
        print(
            f"hmnas_tf: expected no argument, received {argv[1]!r}: type `python -m hmnas_tf.<command>`",
            file=sys.stderr,
        )
        return 2
    print("Commands, each with --help:\n")
    for name, description in commands().items():
        print(f"  python -m hmnas_tf.{name:<10} {description}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
