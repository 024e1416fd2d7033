"""The address of a store of MLflow, as a person types it (pure Python)."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from hmnas_tf.console.paths import ENDS_A_LINE, is_text, short

SQLITE = "sqlite:///"
_EXPECTED = f"expected {SQLITE}FILE, or http://HOST:PORT of a server"


def store_of(uri: str) -> str:
    """Returns the address of a store, that of an SQLite file with its whole path; "" is none.

    Addresses of other kinds than SQLite files and servers are left to MLflow.

    >>> store_of("http://localhost:5000"), store_of("sqlite:////srv/mlflow.db")
    ('http://localhost:5000', 'sqlite:////srv/mlflow.db')

    Raises:
        ValueError: if it cannot be one, or has a password in it.
    """
    if not uri:
        return ""
    if not is_text(uri) or ENDS_A_LINE.search(uri):
        raise ValueError(f"mlflow={short(uri)} has a line end or a byte that is no UTF-8 in it: {_EXPECTED}.")
    try:
        parts = urlsplit(uri)
        is_server = parts.scheme in ("http", "https")
        has_place = bool(parts.hostname) and parts.port != 0 if is_server else True
    except ValueError as error:
        raise ValueError(f"mlflow={short(uri)} is no address ({error}): {_EXPECTED}.") from error
    if parts.password is not None:
        raise ValueError(
            f"mlflow={parts.scheme}://...@{parts.hostname} has a password in it, which run.flags and the report would "
            "show: leave it out; of a server, MLflow reads MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
        )
    if parts.scheme == "sqlite":
        if not uri.startswith(SQLITE) or uri.endswith("/"):
            raise ValueError(f"mlflow={short(uri)} names no file: {_EXPECTED}.")
        return SQLITE + os.path.abspath(os.path.expanduser(uri.removeprefix(SQLITE)))
    if not parts.scheme or not has_place or (not is_server and "://" not in uri):
        raise ValueError(f"mlflow={short(uri)} is no address: {_EXPECTED}.")
    return uri
