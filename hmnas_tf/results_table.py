"""The three stages as a table, like the paper's Table 3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hmnas_tf.progress import counted
from hmnas_tf.space.genotype import Genotype
from hmnas_tf.space.topology import sharing_groups

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


def derivation_lines(genotype: Genotype, cell_sharing: str) -> str:
    """Returns what each cell keeps, one line each, and what they keep together.

    Args:
        genotype: the architecture.
        cell_sharing: key of `topology.CELL_SHARINGS`; the lines of mask search count cells that share masks once.
    """
    lines, kept = [], []
    for index, cell in enumerate(genotype.cells):
        genes = [gene for _, gene in cell.edges()]
        operations = sum(len(gene.operations) for gene in genes)
        lines.append(
            f"derivation: cell {index} keeps {len(genes)} of {counted(len(genotype.topology.edges), 'edge')} with "
            f"{counted(operations, 'operation')} into {counted(len(cell.living_nodes()), 'node')}"
        )
        kept.append((len(genes), operations))
    groups = sharing_groups(genotype.topology.plans, cell_sharing)
    once = dict(zip(reversed(groups), reversed(kept), strict=True)).values()  # the first cell of each group
    built = genotype.count()
    lines.append(
        f"derivation: {_total(built['edges'], built['operations'])} in the network; "
        f"{_total(*map(sum, zip(*once, strict=True)))} if cells with the same masks count once, as in mask search"
    )
    return "\n".join(lines)


def _total(edges: int, operations: int) -> str:
    return f"{counted(edges, 'edge')} with {counted(operations, 'operation')}"
