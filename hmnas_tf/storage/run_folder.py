"""The run folder: what a run leaves behind, and how a later command or a restart finds it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hmnas_tf.config import Config
from hmnas_tf.console.paths import PLACES, is_same
from hmnas_tf.storage import atomic
from hmnas_tf.storage.mlflow_state import STATE

SCHEMA = 1
NUMBERS = {  # that every entry of these parts of `results.json` has
    "stages": ("test_error", "params", "params_nonzero", "flops", "epochs", "seconds"),
    "artifacts": ("bytes", "gzip_bytes", "test_error"),
    "budgets": ("asked", "smallest"),
}
# Parts that have entries, where they are there.
OBJECTS = ("dataset", "versions", "machine", "derived", *NUMBERS)
FREE = {"workdir", "max_memory_kb", "cache_dir", "mlflow"}  # flags of which nothing that is computed depends
PATHS = frozenset(field.name for field in dataclasses.fields(Config) if field.metadata["path"])


class RunFolder:
    """Paths in a run folder, and the two files that say what the run is and how far it came.

    Args:
        path: of the folder; made when missing.
        config: of a run that is begun or continued; None only reads, and neither makes nor writes anything.
        description: of its images, see `refuse_other_data`. With it they may have another place than before.

    Raises:
        ValueError: if the folder belongs to a run with other flags or images, or its files cannot be read.
        OSError: if the folder cannot be written.
    """

    def __init__(
        self, path: str | Path, config: Config | None = None, description: dict[str, Any] | None = None
    ):
        self.path = Path(path)
        self.results = read_results(self.path)
        self._is_new = False
        if config is None:
            return
        self.path.mkdir(parents=True, exist_ok=True)
        lines, flags = flag_lines(config, self.path), self.path / "run.flags"
        self._is_new = not flags.exists()
        # A flag that was not there when the run began did what its default does.
        refuse_other_flags(
            flags, lines, defaults=flag_lines(Config(), self.path), moved=description is not None
        )
        if description is not None:
            self.refuse_other_data(description)
        write_flags(flags, lines)

    @property
    def metrics(self) -> Path:
        """One row an epoch of every stage."""
        return self.path / "metrics.csv"

    @property
    def architecture(self) -> Path:
        """One line an epoch in which the architecture is searched: importances and what the masks leave."""
        return self.path / "architecture.jsonl"

    @property
    def report(self) -> Path:
        """All of it for a reader: one HTML file."""
        return self.path / "report.html"

    @property
    def genotype(self) -> Path:
        """The derived architecture."""
        return self.path / "genotype.json"

    @property
    def model(self) -> Path:
        """Folder of the exported artifacts."""
        return self.path / "model"

    @property
    def card(self) -> Path:
        """What a stranger must know of the network, in Markdown."""
        return self.model / "README.md"

    @property
    def tensorboard(self) -> Path:
        """Folder of event files."""
        return self.path / "tensorboard"

    def checkpoints(self, stage: str) -> Path:
        """Returns the folder of a stage's checkpoints."""
        return self.path / "checkpoints" / stage

    def state(self, stage: str) -> Path:
        """Returns the file of a network's variables after a stage."""
        return self.path / "checkpoints" / f"{stage}.npz"

    def finished(self) -> bool:
        """Returns whether the run has exported its network, which is the last it does."""
        return bool(self.results.get("artifacts"))

    def withdraw(self) -> None:
        """Takes back what says that a run has begun, if this one has only just begun and has computed nothing yet."""
        said = {self.path / name for name in ("run.flags", "results.json", STATE)}
        computed = set(self.path.iterdir()) - said - {self.path / ".lock", self.path / "latency_table.json"}
        for path in said if self._is_new and not computed else ():
            path.unlink(missing_ok=True)

    def refuse_other_data(self, description: dict[str, Any]) -> None:
        """Refuses to continue with other images than the run began with.

        Where they lie does not matter if their version is a hash of their content.

        Raises:
            ValueError: naming what differs.
        """
        old, new = self.results.get("dataset"), json.loads(json.dumps(description))
        if old is not None and old != new:
            free = {"name"} if str(new.get("version")).startswith("sha256:") else set()
            differing = sorted(key for key in new.keys() - free if new[key] != old.get(key))
            if differing:
                raise ValueError(
                    f"workdir {str(self.path)!r} holds a run on other images (they differ in {', '.join(differing)}): "
                    "take the same dataset, or another --workdir."
                )

    def update(self, **entries: Any) -> None:
        """Adds top-level entries to `results.json`, atomically."""
        results = self.results | entries
        atomic.write_json(self.path / "results.json", results)
        self.results = results


def read_results(folder: Path) -> dict[str, Any]:
    """Returns the content of `results.json`, of a run without one an empty result.

    Raises:
        ValueError: if it cannot be read.
    """
    path = folder / "results.json"
    if not path.exists():
        return {"schema": SCHEMA, "stages": {}}
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON ({error}): remove it to evaluate the stages again.") from error
    if (
        not isinstance(results, dict)
        or results.get("schema") != SCHEMA
        or not isinstance(results.get("stages"), dict)
    ):
        raise ValueError(f"{path} is not a results file of schema {SCHEMA}: take another --workdir.")
    if strange := _strange(results):
        raise ValueError(
            f"{path} was changed, {strange} is not what a run writes there: restore the file, or remove it to evaluate "
            "the stages again."
        )
    return results


def _strange(results: dict[str, Any]) -> str:
    """Returns the name of the first entry that others could not read, "" if there is none."""
    for part in OBJECTS:
        if not isinstance(results.get(part, {}), dict):
            return part
    for part, numbers in NUMBERS.items():
        for name, entry in results.get(part, {}).items():
            readable = isinstance(entry, dict) and all(_is_number(entry.get(number)) for number in numbers)
            if not readable or (part == "artifacts" and not _is_name(entry.get("path"))):
                return f"{part}.{name}"
    return ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e300 < value < 1e300


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def read_flag_lines(path: Path) -> list[str]:
    """Returns the lines of a `run.flags`.

    Raises:
        ValueError: if it is no text.
    """
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is no text in UTF-8 ({error}): restore it, or take another --workdir."
        ) from error


def refuse_other_flags(
    path: Path, lines: Sequence[str], *, defaults: Sequence[str] = (), moved: bool = False
) -> None:
    """Refuses to go on in a folder, which may be another one than before, with other flags.

    Args:
        path: of the file that has them, which need not be there.
        lines: `--name=value`, with `--workdir`.
        defaults: the same of flags that the file may lack, because it is of an earlier version.
        moved: whether the images may lie elsewhere, because their content is compared.

    Raises:
        ValueError: if the folder belongs to a run with other flags, naming them.
    """
    if not path.exists():
        return
    old = flag_values([*defaults, *read_flag_lines(path)])
    differing = [
        f"{name} was {old.get(name)!r}, now {value!r}"
        for name, value in flag_values(lines).items()
        if name not in FREE and not _agree(name, old.get(name), value, moved)
    ]
    if differing:
        raise ValueError(
            f"workdir {str(path.parent)!r} holds a run with other flags ({'; '.join(differing)}): take the same "
            "flags to continue it, or another --workdir."
        )


def _agree(name: str, old: str | None, new: str, moved: bool) -> bool:
    if moved and name == "dataset" and old is not None and old.startswith(PLACES) and new.startswith(PLACES):
        return True
    return old == new or (old is not None and name in PATHS and is_same(old, new))


def write_flags(path: Path, lines: Sequence[str]) -> None:
    """Writes a flag file."""
    atomic.write_text(path, "".join(f"{line}\n" for line in lines))


def flag_values(lines: Sequence[str]) -> dict[str, str]:
    """Returns the values of `--name=value` by their names."""
    return dict(line.removeprefix("--").split("=", 1) for line in lines if "=" in line)


def flag_lines(config: Config, workdir: Path) -> list[str]:
    """Returns every flag of a run as `--name=value`, the lines of a flag file."""
    values = {"workdir": str(workdir)} | dataclasses.asdict(config)
    return [f"--{name}={_flag_value(value)}" for name, value in values.items()]


def _flag_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, tuple) else str(value)
