"""Runs that share a stage: one takes over what another has trained."""

from __future__ import annotations

from hmnas_tf.runs.run import TITLES
from hmnas_tf.stages import architecture_history, telemetry
from hmnas_tf.storage import atomic
from hmnas_tf.storage.run_folder import RunFolder


def adopt(folder: RunFolder, donor: RunFolder, stage: str) -> None:
    """Copies a finished stage of another run: its variables, its rows of metrics and history, last its results."""
    atomic.write_bytes(folder.state(stage), donor.state(stage).read_bytes())
    for row in telemetry.read_rows(donor.metrics):
        if row["stage"] == TITLES[stage]:
            telemetry.write_row(folder.metrics, row)
    for line in architecture_history.read_history(donor.architecture):
        if line["stage"] == TITLES[stage]:
            architecture_history.write_line(folder.architecture, line)
    found = {"stages": folder.results["stages"] | {stage: donor.results["stages"][stage]}}
    if stage == "searched" and "budgets" in donor.results:  # what the masks have reached
        found["budgets"] = donor.results["budgets"]
    folder.update(**found)
