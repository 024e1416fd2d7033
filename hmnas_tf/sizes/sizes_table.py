"""The networks of several sizes as CSV, as a table in Markdown, and as a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hmnas_tf.drawing.error_by_size import error_by_size
from hmnas_tf.drawing.picture import as_svg
from hmnas_tf.reporting.results_table import markdown_table
from hmnas_tf.reporting.sizes import CHART, COLUMNS, rows
from hmnas_tf.storage import atomic

FIELDS = (  # of `pareto.csv`
    "network",
    "kind",
    "max_parameters",
    "max_multiply_adds",
    "max_latency_ms",
    "test_error",
    "params",
    "flops",
    "milliseconds",
    "epochs",
    "supernet_seconds",
    "seconds",
)


def markdown(records: Sequence[Mapping[str, Any]]) -> str:
    """Returns one row a network."""
    return markdown_table(COLUMNS, rows(records))


def draw(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Draws error against size, one point a network."""
    svg = as_svg(error_by_size(records), title=CHART, description="The table has the numbers.", key="pareto")
    atomic.write_text(path, svg)
