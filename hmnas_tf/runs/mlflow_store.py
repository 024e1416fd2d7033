"""A store of MLflow that runs are logged in. Needs the extra `hmnas_tf[mlflow]`, and loads it only when it is used."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
import logging
import os
import sqlite3
from pathlib import Path
from typing import Any

from hmnas_tf.console.stores import SQLITE

EXPERIMENT = "hmnas_tf"  # unless MLFLOW_EXPERIMENT_NAME says otherwise
_MODULES = ("mlflow", "sqlalchemy", "alembic")  # the last two are of SQLite files
_QUIET = {  # nobody is told of a run but the store, and nothing is printed between the lines of progress
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_FOLDERS = "MLFLOW_ALLOW_FILE_STORE"  # an environment variable of MLflow
# Training waits for a server that does not answer: by MLflow's own defaults for a quarter of an hour.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


@dataclasses.dataclass(frozen=True)
class Store:
    """A store that was reached.

    Attributes:
        uri: its address.
        client: of MLflow, for this address only.
        experiment: id of the experiment that runs belong to.
    """

    uri: str
    client: Any
    experiment: str


def require_store(uri: str) -> None:
    """Refuses a store that nothing can be logged in, before anything is trained; "" is none.

    Raises:
        ImportError: if a package is missing, with the command that installs it.
        ValueError: if the store cannot be reached.
    """
    if not uri:
        return
    missing = [name for name in _MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f"mlflow={uri}: expected {', '.join(_MODULES)}, missing {', '.join(missing)}; pip install "
            "'hmnas_tf[mlflow]'"
        )
    try:
        connect(uri)
    except Exception as error:  # of many kinds, by store
        raise unusable(uri, error) from error


@functools.cache
def connect(uri: str) -> Store:
    """Returns a store, with the experiment in it; an SQLite file is made when missing.

    Raises:
        Exception: of many kinds, if it cannot be reached.
    """
    if uri.startswith(SQLITE):
        _require_database(_file(uri))
    if uri.startswith("file:") and not os.environ.get(_FOLDERS):
        raise ValueError(
            f"MLflow writes folders of files only where {_FOLDERS}=true is set; take {SQLITE}FILE"
        )
    client = _client(uri)
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    found = client.get_experiment_by_name(name)
    if found is None:
        # By MLflow's default, files of a store in SQLite would lie in whatever folder the command is started from.
        place = (_file(uri).parent / "mlruns" / name).as_uri() if uri.startswith(SQLITE) else None
        client.create_experiment(name, artifact_location=place)
        found = client.get_experiment_by_name(name)
    if found.lifecycle_stage != "active":
        raise ValueError(f"its experiment {name!r} is deleted; restore it, or set MLFLOW_EXPERIMENT_NAME")
    return Store(uri, client, found.experiment_id)


def has_run(store: Store, run: str) -> bool:
    """Returns whether a store has a run of this id, which was not deleted."""
    from mlflow.exceptions import MlflowException

    try:
        return store.client.get_run(run).info.lifecycle_stage != "deleted"
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise


def unusable(uri: str, error: Exception) -> ValueError:
    """Returns what is told, before anything is trained, of a store that failed."""
    return ValueError(
        f"mlflow={uri} cannot be logged in ({reason(error)}): start the server or mend the address, or leave --mlflow "
        "out."
    )


def reason(error: Exception) -> str:
    """Returns in a line what MLflow or a store says is wrong."""
    kind = "" if type(error) is ValueError else f"{type(error).__name__}: "  # ours
    text = kind + " ".join(str(error).split())
    return text if len(text) <= 500 else f"{text[:500]}..."


def _client(uri: str) -> Any:
    os.environ.update(_QUIET)
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    import mlflow

    for name in (
        "mlflow",
        "alembic",
        "urllib3.connectionpool",
    ):  # now, because MLflow sets its own when it is loaded
        logging.getLogger(name).setLevel(logging.ERROR)
    return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)


def _file(uri: str) -> Path:
    """Returns the file of an SQLite store, whose address may end with options."""
    return Path(uri.removeprefix(SQLITE).partition("?")[0])


def _require_database(path: Path) -> None:
    """Refuses what cannot be written or is no database at once; MLflow would try again for minutes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("SELECT * FROM sqlite_master")
        connection.rollback()
