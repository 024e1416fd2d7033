"""The three stages as a table, like the paper's Table 3."""

from __future__ import annotations

from typing import Any

from hmnas_tf.space.genotype import Genotype

ROWS = (("supernet", "Supernet"), ("searched", "Searched network"), ("finetuned", "After fine-tuning"))


def stages_table(results: dict[str, Any]) -> str:
    """Returns the stages of `results.json` as a table of fixed width, one line each.

    Args:
        results: at least `stages` with an entry for each finished stage.
    """
    stages = results["stages"]
    whole = stages[next(key for key, _ in ROWS if key in stages)]["params"]  # the first is what others reduce
    lines = [
        f"{'stage':<18}{'test error':>11}{'parameters':>12}{'reduction':>11}{'non-zero':>12}{'seconds':>9}"
    ]
    for key, title in ROWS:
        if key in stages:
            row = stages[key]
            reduction = f"{100 * (1 - row['params'] / whole):.1f} %"
            lines.append(
                f"{title:<18}{row['test_error']:>9.2f} %{row['params']:>12,}{reduction:>11}"
                f"{row['params_nonzero']:>12,}{row['seconds']:>9.0f}"
            )
    return "\n".join(lines)


def derivation_lines(genotype: Genotype) -> str:
    """Returns what each cell keeps, one line each."""
    lines = []
    for index, cell in enumerate(genotype.cells):
        genes = [gene for _, gene in cell.edges()]
        operations = sum(len(gene.operations) for gene in genes)
        lines.append(
            f"derivation: cell {index} keeps {len(genes)} of {len(genotype.topology.edges)} edges with {operations} "
            f"operations into {len(cell.living_nodes())} nodes"
        )
    return "\n".join(lines)
