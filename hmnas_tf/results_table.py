"""The three stages as a table, like the paper's Table 3."""

from __future__ import annotations

from typing import Any

ROWS = (("supernet", "Supernet"), ("searched", "Searched network"), ("finetuned", "After fine-tuning"))


def stages_table(results: dict[str, Any]) -> str:
    """Returns the stages of `results.json` as a table of fixed width, one line each.

    Args:
        results: at least `stages` with an entry for each finished stage.
    """
    stages = results["stages"]
    whole = stages["supernet"]["params"]
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
