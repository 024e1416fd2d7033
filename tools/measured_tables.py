"""Writes the measured tables of README.md and docs/ again, from the CSV files beside the pages; measures nothing.

python tools/measured_tables.py

A page has `<!-- table: FILE.csv -->`, the table, and `<!-- table: end -->`. With `by COLUMN, COLUMN` after the file
there is a table with a heading for every different value of these columns. A tool that measures writes its CSV files
with `publish` here, a person writes them by hand; either way the table in the page is made from the file.
"""

from __future__ import annotations

import csv
import functools
import io
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import app

from hmnas_tf import command_line
from hmnas_tf.console.interruptions import told
from hmnas_tf.storage import atomic

ROOT = Path(__file__).parents[1]
# The help of a tool's flag.
INTO = "Markdown file whose tables are replaced, and the CSV files beside it; none prints them."
BEGIN, END = "<!-- table: {} -->", "<!-- table: end -->"
MARK = re.compile(r"^<!-- table: (?P<words>.*?) -->\n", re.MULTILINE)
Row = Mapping[str, Any]


class Place(NamedTuple):
    """Where a table stands in a page: its CSV file, the columns it is divided by, and the text between the marks."""

    file: str
    by: tuple[str, ...]
    start: int
    stop: int


def start(tool: str, main: Callable[[], None], settings: Sequence[str] = ()) -> None:
    """Runs a tool that measures; what is the user's to mend, and being told to stop, is one line.

    Args:
        tool: its name.
        main: does its work; it is called when all words of the command line were flags.
        settings: flags that the command line changes.
    """

    def run(argv: list[str]) -> None:
        if len(argv) > 1:
            raise app.UsageError(f"{argv[1]!r} is no flag.")
        main()

    try:
        with told(functools.partial(command_line.complain, tool), "Start it again."):
            app.run(run, argv=[sys.argv[0], *settings, *sys.argv[1:]])
    except (ValueError, OSError, RuntimeError) as error:
        command_line.fail(tool, error)


def mean_with_error(values: Sequence[float]) -> str:
    """Returns the mean of some values and, if there are several, its standard error, with two digits each."""
    spread = f" ± {np.std(values, ddof=1) / np.sqrt(len(values)):.2f}" if len(values) > 1 else ""
    return f"{np.mean(values):.2f}{spread}"


def csv_of(page: str | Path, name: str) -> Path:
    """Returns the CSV file of a table that a tool writes: beside the page, named after it."""
    return Path(page).with_name(f"{Path(page).stem}_{name}.csv")


def places(page: Path) -> Iterator[Place]:
    """Yields the tables of a page, in their order.

    Raises:
        ValueError: if a mark has no partner.
    """
    text = page.read_text(encoding="utf-8")
    marks = list(MARK.finditer(text))
    for begin, end in zip(marks[::2], [*marks[1::2], None], strict=False):
        file, _, columns = begin["words"].partition(" by ")
        if file == "end" or not end or end["words"] != "end":
            raise ValueError(
                f"{page}: expected {BEGIN.format('FILE.csv')} and {END} in turn, it has {begin[0].strip()} alone."
            )
        yield Place(file, tuple(columns.split(", ")) if columns else (), begin.end(), end.start())


def read(path: Path) -> list[dict[str, str]]:
    """Returns the rows of a CSV file.

    Raises:
        ValueError: if it has none, or one that is longer or shorter than the first line.
        OSError: if it cannot be read.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    uneven = [number for number, row in enumerate(rows, 2) if None in row or None in row.values()]
    if uneven or not rows:
        what = f"line {uneven[0]} has another number of cells" if uneven else "there is no row"
        raise ValueError(f"{path}: expected a line of names and rows of as many cells, but {what}.")
    return rows


def markdown(rows: Sequence[Row], by: Sequence[str] = ()) -> str:
    """Returns rows as a table, or as a table with a heading for each value of some columns.

    Args:
        rows: with the same columns each; whole numbers of four digits and more get commas.
        by: columns that go into the headings.

    Raises:
        ValueError: if there is no such column.
    """
    unknown = [name for name in by if name not in rows[0]]
    if unknown:
        raise ValueError(f"by {', '.join(by)}: expected some of {', '.join(rows[0])}, not {unknown[0]}.")
    columns = [name for name in rows[0] if name not in by]
    parts: dict[str, list[str]] = {}
    for row in rows:
        heading = ", ".join(f"{name}: {row[name]}" for name in by)
        start = [f"### {heading[:1].upper()}{heading[1:]}", ""] if by else []
        head = [_line(columns), "|---" * len(columns) + "|"]
        parts.setdefault(heading, start + head).append(_line(row[name] for name in columns))
    return "\n\n".join("\n".join(lines) for lines in parts.values())


def _line(cells: Iterable[Any]) -> str:
    return "|" + "".join(f" {text} |" if text else " |" for text in map(_cell, cells))


def _cell(value: Any) -> str:
    text = str(value)
    return f"{int(text):,}" if re.fullmatch(r"\d{4,}", text) else text.replace("|", r"\|")


def rendered(page: Path) -> str:
    """Returns the text of a page with the tables that its CSV files have now.

    Raises:
        ValueError: if a mark has no partner, or a file is no table.
        OSError: if a file cannot be read.
    """
    text = page.read_text(encoding="utf-8")
    for place in reversed(list(places(page))):
        table = markdown(read(page.parent / place.file), place.by)
        text = f"{text[: place.start]}\n{table}\n\n{text[place.stop :]}"
    return text


def require_places(page: str | None, names: Iterable[str]) -> None:
    """Refuses a page without the marks of the tables that a tool will write, before anything is measured.

    Raises:
        ValueError: if they are missing.
    """
    if page:
        found = {place.file for place in places(Path(page))}
        for file in [csv_of(page, name).name for name in names]:
            if file not in found:
                raise ValueError(
                    f"{page}: expected the marks {BEGIN.format(file)} and {END}: write them into it."
                )


def publish(page: str | None, tables: Mapping[str, Sequence[Row]]) -> None:
    """Writes the CSV files of a page and then its tables, or prints the tables if there is no page.

    Args:
        page: Markdown file.
        tables: rows by the name of the table, see `csv_of`.
    """
    if not page:
        print("\n\n".join(f"## {name}\n\n{markdown(rows)}" for name, rows in tables.items()))
        return
    for name, rows in tables.items():
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        atomic.write_text(csv_of(page, name), text.getvalue())
    atomic.write_text(page, rendered(Path(page)))


def pages() -> list[Path]:
    """Returns the documents that may have tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def main(arguments: Sequence[str]) -> int:
    """Writes the tables of all pages; returns the exit code."""
    if arguments:
        print(f"measured_tables: {arguments[0]!r}: expected nothing, all pages are written", file=sys.stderr)
        return 2
    try:
        texts = {page: rendered(page) for page in pages()}
        for page, text in texts.items():
            if text != page.read_text(encoding="utf-8"):
                atomic.write_text(page, text)
                print(page.relative_to(ROOT))
    except (ValueError, OSError) as error:
        print(f"measured_tables: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
