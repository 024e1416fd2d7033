"""The three stages as a table, like the paper's Table 3; tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hmnas_tf.console.progress import counted
from hmnas_tf.space.genotype import Genotype
from hmnas_tf.space.topology import first_of_groups, sharing_groups

ROWS = (("supernet", "Supernet"), ("searched", "Searched network"), ("finetuned", "After fine-tuning"))
COLUMNS = ("stage", "test error", "parameters", "reduction", "non-zero", "seconds")
_WIDTHS = (18, 11, 12, 11, 12, 9)


def stage_rows(results: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Returns a row of words for each finished stage of `results.json`, under `COLUMNS`.

    The first stage has the parameters that others reduce.
    """
    stages = results["stages"]
    finished = [(title, stages[key]) for key, title in ROWS if key in stages]
    return [
        (
            title,
            f"{row['test_error']:.2f} %",
            f"{row['params']:,}",
            f"{100 * (1 - row['params'] / finished[0][1]['params']):.1f} %",
            f"{row['params_nonzero']:,}",
            f"{row['seconds']:.0f}",
        )
        for title, row in finished
    ]


def stages_table(results: Mapping[str, Any]) -> str:
    """Returns the stages of `results.json` as a table of fixed width, one line each.

    Args:
        results: at least `stages` with an entry for each finished stage.
    """
    first, *others = _WIDTHS
    return "\n".join(
        f"{name:<{first}}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, others, strict=True))
        for name, *cells in (COLUMNS, *stage_rows(results))
    )


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table in Markdown.

    >>> print(markdown_table(["a", "b"], [["1", "2"]]), end="")
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    lines = [f"| {' | '.join(row)} |" for row in (heads, *rows)]
    lines.insert(1, "|---" * len(heads) + "|")
    return "\n".join(lines) + "\n"


def derivation_lines(genotype: Genotype, cell_sharing: str) -> str:
    """Returns what each cell keeps, one line each, and what they keep together.

    Args:
        genotype: the architecture.
        cell_sharing: key of `topology.CELL_SHARINGS`; the lines of mask search count cells that share masks once.
    """
    lines = []
    for index, cell in enumerate(genotype.cells):
        kept = genotype.count([index])
        lines.append(
            f"derivation: cell {index} keeps {kept['edges']} of {counted(len(genotype.topology.edges), 'edge')} with "
            f"{counted(kept['operations'], 'operation')} into {counted(len(cell.living_nodes()), 'node')}"
        )
    groups = sharing_groups(genotype.topology.plans, cell_sharing)
    once = genotype.count(first_of_groups(groups, range(len(groups))))
    lines.append(
        f"derivation: {_total(**genotype.count())} in the network; "
        f"{_total(**once)} if cells with the same masks count once, as in mask search"
    )
    return "\n".join(lines)


def _total(edges: int, operations: int) -> str:
    return f"{counted(edges, 'edge')} with {counted(operations, 'operation')}"
