"""What a report is made of: everything that is known of a run, read once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from hmnas_tf.config import Config
from hmnas_tf.reporting.judgement import Judgement
from hmnas_tf.space.genotype import Genotype
from hmnas_tf.space.topology import Topology


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a stage has come.

    Attributes:
        key: of the stage in `results.json`.
        title: its name, in words.
        epochs: that are done.
        planned: epochs that the settings ask for.
        done: whether its result is recorded.
    """

    key: str
    title: str
    epochs: int
    planned: int
    done: bool


@dataclasses.dataclass(frozen=True)
class Facts:
    """All that a report says, of a finished run or of one in progress.

    Attributes:
        workdir: the run folder, as the user named it.
        config: all settings.
        results: content of `results.json`.
        progress: the stages that this run has, in order.
        rows: of `metrics.csv`.
        history: lines of `architecture.jsonl`.
        topology: of the supernet.
        genotype: the derived architecture; None before there is one.
        purposes: what each artifact is for, by its name in `results`.
        shown_by: commands that show one to a person, by its name, with `{path}` for its place.
        files: names of files of the run folder that are there to be read.
        sizes: networks of other sizes from the same supernet, rows of `pareto.csv`.
        judgement: what the finished network makes of the test images; None if they were not shown to it.
        unjudged: why not, in a sentence; "" if they were.
        written: when the report was written.
        trained: when the last epoch ended; None before the first.
    """

    workdir: Path
    config: Config
    results: Mapping[str, Any]
    progress: Sequence[Progress]
    rows: Sequence[dict[str, str]]
    history: Sequence[Mapping[str, Any]]
    topology: Topology
    genotype: Genotype | None
    purposes: Mapping[str, str]
    shown_by: Mapping[str, str]
    files: Sequence[str]
    sizes: Sequence[Mapping[str, Any]]
    judgement: Judgement | None
    unjudged: str
    written: datetime
    trained: datetime | None

    @property
    def name(self) -> str:
        """What the run is called: the last part of its folder."""
        return self.workdir.name or self.workdir.resolve().name

    @property
    def finished(self) -> bool:
        """Whether the network is exported, which is the last that a run does."""
        return "artifacts" in self.results

    @property
    def stages(self) -> Mapping[str, Any]:
        """The recorded stages."""
        return self.results["stages"]

    @property
    def class_names(self) -> Sequence[str]:
        """Names of the classes; none before the run has read its images."""
        return self.results.get("dataset", {}).get("class_names", [])
