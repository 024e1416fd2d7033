"""Parameters and metrics of a run of MLflow: which it has, and those of a run folder that it lacks."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from hmnas_tf.runs.mlflow_store import Store

NO_METRICS = ("stage", "epoch", "strongest")  # columns of metrics.csv
NUMBERS = ("stages", "artifacts", "budgets")  # parts of results.json whose entries have numbers
AT_ONCE = 100  # parameters or metrics in one request


class Known:
    """What a run of MLflow has: parameters, the last step of each metric, and its value there."""

    def __init__(self, parameters: Iterable[str], steps: dict[str, int], values: dict[str, float]):
        self.parameters = set(parameters)
        self.steps = steps
        self.values = values

    @classmethod
    def of(cls, store: Store, run: str) -> Known:
        data = store.client.get_run(run).data
        steps = {
            name: max(metric.step for metric in store.client.get_metric_history(run, name))
            for name in data.metrics
        }
        return cls(data.params, steps, dict(data.metrics))

    def log_parameters(self, store: Store, run: str, parameters: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        new = [Param(name, value) for name, value in parameters.items() if name not in self.parameters]
        for part in _parts(new):
            store.client.log_batch(run, params=part)
        self.parameters |= set(parameters)

    def log_epochs(self, store: Store, run: str, rows: Sequence[Mapping[str, str]]) -> None:
        found = [
            (f"{row['stage']}/{column}", float(value), int(row["epoch"]))
            for row in rows
            for column, value in row.items()
            if column not in NO_METRICS and value
        ]
        self._log(store, run, [each for each in found if each[2] > self.steps.get(each[0], 0)])

    def log_results(self, store: Store, run: str, results: Mapping[str, float]) -> None:
        self._log(
            store,
            run,
            [(name, value, 0) for name, value in results.items() if self.values.get(name) != value],
        )

    def _log(self, store: Store, run: str, found: Sequence[tuple[str, float, int]]) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        for part in _parts(found):
            store.client.log_batch(
                run, metrics=[Metric(name, value, now, step) for name, value, step in part]
            )
            for name, value, step in part:
                self.steps[name], self.values[name] = step, value


def _parts(entries: Sequence[Any]) -> list[Sequence[Any]]:
    return [entries[start : start + AT_ONCE] for start in range(0, len(entries), AT_ONCE)]


def numbers(results: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yields the numbers of a run's `results.json`, each with its path: `results/stages/supernet/epochs` is one."""
    entries = {
        f"{part}/{name}": entry for part in NUMBERS for name, entry in results.get(part, {}).items()
    } | {part: results.get(part, {}) for part in ("derived", "latency")}
    for path, entry in entries.items():
        for name, value in entry.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                yield f"results/{path}/{name}", float(value)
