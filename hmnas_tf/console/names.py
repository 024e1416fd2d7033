"""Names that a module offers, known before the module is loaded.

A flag that takes the names of a dictionary must know them when it is parsed, and TensorFlow, which most modules need,
takes seconds to load. So the module is read as text unless it is loaded already, when its dictionary counts as it is:
a program may have added to it.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

PACKAGES = Path(__file__).parents[2]  # the folder that holds the package


class NamesOf(Collection[str]):
    """The keys of a literal dictionary at the top of a module of this package, in its order.

    Args:
        module: dotted name of the module.
        symbol: of the dictionary.
        also: words that mean something besides.

    Raises:
        LookupError: when asked, if the module has no such dictionary.

    >>> sorted(NamesOf("hmnas_tf.stages.update_schedules", "UPDATE_SCHEDULES"))
    ['constant', 'cosine', 'exponential', 'linear']
    """

    def __init__(self, module: str, symbol: str, *, also: Sequence[str] = ()):
        self.module = module
        self.symbol = symbol
        self.also = tuple(also)

    def _names(self) -> tuple[str, ...]:
        loaded = sys.modules.get(self.module)
        return (*(getattr(loaded, self.symbol) if loaded else self._read()), *self.also)

    def _read(self) -> list[str]:
        path = PACKAGES / (self.module.replace(".", "/") + ".py")
        for statement in ast.parse(path.read_text(encoding="utf-8")).body:
            targets = getattr(statement, "targets", [getattr(statement, "target", None)])
            is_it = [getattr(target, "id", "") for target in targets] == [self.symbol]
            if is_it and isinstance(statement.value, ast.Dict):
                return [ast.literal_eval(key) for key in statement.value.keys]
        raise LookupError(f"{path} has no dictionary {self.symbol} written out at its top")

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def __contains__(self, name: object) -> bool:
        return name in self._names()


def require_known(
    setting: str, words: Sequence[str], known: Collection[str], *, different: bool = False
) -> None:
    """Refuses words that are none of the known ones.

    Args:
        setting: whose words they are.
        words: given.
        known: accepted.
        different: whether there must be at least one, and none twice.

    Raises:
        ValueError: naming the setting, the value and what is accepted.
    """
    unknown = [word for word in words if word not in known]
    given = ",".join(words)
    if different and (unknown or not words or len(set(words)) != len(words)):
        raise ValueError(f"{setting}={given!r}: expected different ones of {', '.join(known)}, at least one.")
    if unknown:
        raise ValueError(f"{setting}={given!r}: {unknown[0]!r} is none of {', '.join(sorted(known))}.")
