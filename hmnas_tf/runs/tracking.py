"""What MLflow is shown of a run: flags, metrics by epoch, results and files.

All of it is read from the run folder, which is the truth; MLflow has a copy that may be behind. So whatever is missing
there, because a process was killed or a server did not answer, is logged at the next opportunity. Nothing is logged
twice: of an epoch that a kill made come twice MLflow keeps the seconds of the first.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hmnas_tf.console.progress import Say, silent
from hmnas_tf.exporters.artifacts import digest
from hmnas_tf.runs.mlflow_records import Known, numbers
from hmnas_tf.runs.mlflow_store import Store, connect, has_run, reason, unusable
from hmnas_tf.stages.telemetry import read_rows
from hmnas_tf.storage.mlflow_state import STATE, read_state, write_state
from hmnas_tf.storage.run_folder import flag_values, read_flag_lines, read_results

FLAGS = ("run.flags", "tune.flags")  # of which a folder has one
FILES = (  # what is shown of a folder, of those that are there
    *FLAGS,
    "results.json",
    "metrics.csv",
    "architecture.jsonl",
    "genotype.json",
    "latency_table.json",
    "report.html",
    "model/**/*",
    "pareto/pareto.*",
    "ablation.*",
    "leaderboard.*",
    "best.flags",
)
# A store that failed is tried again after so many seconds, or so many times as long as it took to fail: one that
# does not answer costs less than a twentieth of the time.
PATIENCE, PATIENCES = 60.0, 20.0
KEY = "hmnas_tf.key"  # tag by which a run of MLflow is found whose id a kill kept from being written down


class Tracker:
    """Logs a folder as a run of MLflow, which goes on where it was.

    Args:
        folder: of a run, or of many.
        uri: of the store.
        say: shows a line to the user.
        flags: `--name=value`, of a folder that has no file of them.
    """

    def __init__(self, folder: Path, uri: str, say: Say = silent, flags: Sequence[str] = ()):
        self.folder = folder
        self.uri = uri
        self.say = say
        self.flags = flags
        self._again: float | None = None  # when a store that failed is tried again
        self._state: dict[str, Any] = {}  # content of its file, once there is a run of MLflow
        self._known: Known | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Inside, MLflow shows the run as running, and then as finished, failed or killed.

        Raises:
            ValueError: if the run of MLflow was deleted. A run that is part of another goes on without, as it does if
                the store fails.
        """
        if not read_state(self.folder, self.uri).get("parent"):
            self._require_run()
        self.log(status="RUNNING")
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            self.log(status="KILLED")
            raise
        except BaseException:
            self.log(status="FAILED")
            raise
        self.log(files=True, status="FINISHED")
        if self._again is not None:
            self.say(f"Warning: MLflow at {self.uri} lacks a part of this run: start the same command again.")

    def log(self, *, files: bool = False, status: str = "") -> None:
        """Logs what the folder has and the store has not.

        If that fails it is told, once, and tried again when it is called a while later, or with `files`.

        Args:
            files: whether files are logged, too.
            status: of the run; "" is as it is.
        """
        begun = time.monotonic()
        if self._again is not None and not files and begun < self._again:
            return
        try:
            self._log(files, status)
        except Exception as error:  # of many kinds, by store; hours of training must not end for it
            if self._again is None:
                self.say(
                    f"Warning: MLflow at {self.uri} failed ({reason(error)}): the run goes on, and what is missing "
                    "there is logged when it answers again, at the latest when this command is started again."
                )
            now = time.monotonic()
            self._again, self._known = now + max(PATIENCE, PATIENCES * (now - begun)), None
        else:
            if self._again is not None:
                self.say(f"MLflow at {self.uri} answers again, and has what was missing")
            self._again = None

    def _require_run(self) -> None:
        try:
            self._of_mlflow(connect(self.uri))
        except Exception as error:
            raise unusable(self.uri, error) from error

    def _log(self, files: bool, status: str) -> None:
        store = connect(self.uri)
        run = self._of_mlflow(store)
        if status == "RUNNING":
            store.client.update_run(run, status)
        if self._known is None:
            self._known = Known.of(store, run)
        self._known.log_parameters(store, run, self._parameters())
        self._known.log_epochs(store, run, read_rows(self.folder / "metrics.csv"))
        self._known.log_results(store, run, dict(numbers(read_results(self.folder))))
        if files:
            self._log_files(store, run)
        if status and status != "RUNNING":
            store.client.set_terminated(run, status)

    def _of_mlflow(self, store: Store) -> str:
        """Returns the id of the folder's run of MLflow, which is made if there is none."""
        if not self._state:
            state = {"key": secrets.token_hex(16), "files": {}} | read_state(self.folder, self.uri)
            if "run_id" not in state:
                write_state(self.folder, state)  # first, so that a run that is made now is found after a kill
                state["run_id"] = _found(store, state["key"]) or self._made(store, state)
                write_state(self.folder, state)
            if not has_run(store, state["run_id"]):
                raise ValueError(
                    f"the run {state['run_id']} of MLflow is deleted; restore it, or remove {self.folder / STATE} to "
                    "begin another"
                )
            self._state = state
        return self._state["run_id"]

    def _made(self, store: Store, state: Mapping[str, Any]) -> str:
        tags = {KEY: state["key"], "mlflow.source.name": "hmnas_tf", "mlflow.source.type": "LOCAL"}
        if commit := read_results(self.folder).get("git_commit"):
            tags["mlflow.source.git.commit"] = commit
        if state.get("parent"):
            tags["mlflow.parentRunId"] = state["parent"]
        name = state.get("name") or self.folder.resolve().name
        return store.client.create_run(store.experiment, tags=tags, run_name=name).info.run_id

    def _parameters(self) -> dict[str, str]:
        lines = list(self.flags)
        for name in FLAGS:
            if (self.folder / name).exists():
                lines += read_flag_lines(self.folder / name)
        return flag_values(lines)

    def _log_files(self, store: Store, run: str) -> None:
        known = self._state["files"]
        for path in sorted({path for pattern in FILES for path in self.folder.glob(pattern)}):
            name = path.relative_to(self.folder)
            if path.is_dir() or any(part.startswith(".") for part in name.parts):
                continue
            found = digest(path)
            if known.get(name.as_posix()) != found:
                parent = name.parent.as_posix()
                store.client.log_artifact(run, str(path), None if parent == "." else parent)
                known[name.as_posix()] = found
                write_state(self.folder, self._state)


@contextlib.contextmanager
def tracked(
    folder: Path, uri: str, say: Say = silent, flags: Sequence[str] = ()
) -> Iterator[Callable[[], None]]:
    """Logs a folder of many runs, see `Tracker`; yields what logs what is new in it, which does nothing without `uri`.

    Raises:
        ValueError: if the store cannot be reached.
    """
    if not uri:
        yield lambda: None
        return
    tracker = Tracker(folder, uri, say, flags)
    with tracker.running():
        yield lambda: tracker.log(files=True)


def log_folder(folder: Path, uri: str, say: Say = silent) -> None:
    """Logs what is new in a folder, see `Tracker`, if there is a store."""
    if uri:
        Tracker(folder, uri, say).log(files=True)


def _found(store: Store, key: str) -> str:
    runs = store.client.search_runs([store.experiment], f"tags.`{KEY}` = '{key}'")
    return runs[0].info.run_id if runs else ""


def begin_part(folder: Path, whole: Path, uri: str, name: str) -> None:
    """Makes the run of a folder, which is yet to begin, part of that of another in MLflow.

    Args:
        folder: made when missing.
        whole: folder of the run that it is part of, which MLflow knows.
        uri: of the store, "" for none.
        name: that MLflow shows.
    """
    parent = read_state(whole, uri).get("run_id") if uri else ""
    if parent and read_state(folder, uri).get("parent") != parent:
        write_state(folder, {"uri": uri, "parent": parent, "name": name})
