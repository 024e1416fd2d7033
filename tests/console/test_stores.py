"""An address of MLflow is one, without a password and the same from every folder, or it is told in a line."""

from __future__ import annotations

import pytest

from hmnas_tf.config import Config
from hmnas_tf.console.stores import store_of

WRONG = {
    "mlruns": "mlflow='mlruns' is no address: expected sqlite:///FILE, or http://HOST:PORT of a server",
    "/srv/mlruns": "is no address",
    "localhost:5000": "is no address",
    "file:mlruns": "is no address",
    "http://": "is no address",
    "http://host:none": "is no address",
    "http://host:99999": "is no address",
    "http://[::1": "is no address",
    "sqlite://": "names no file",
    "sqlite:///": "names no file",
    "sqlite:/mlflow.db": "names no file",
    "sqlite:///folder/": "names no file",
    "http://host\n": "has a line end",
    "http://\udcff": "has a line end or a byte that is no UTF-8",
}


@pytest.mark.parametrize("uri", WRONG)
def test_what_is_no_address_is_told_before_anything_else(uri):
    with pytest.raises(ValueError, match="expected sqlite:///FILE") as caught:
        Config(mlflow=uri)
    assert WRONG[uri] in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("uri", ["http://me:secret@host:5000", "postgresql://me:secret@host/runs"])
def test_a_password_is_neither_taken_nor_shown(uri):
    with pytest.raises(ValueError, match=r"@host has a password in it.*MLFLOW_TRACKING_PASSWORD") as caught:
        Config(mlflow=uri)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("uri", ["", "http://localhost:5000", "https://me@host/prefix", "file:///srv/mlruns"])
def test_an_address_stays_as_it_is(uri):
    assert Config(mlflow=uri).mlflow == uri


def test_a_file_is_the_same_seen_from_every_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert store_of("sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"
    assert store_of("sqlite:///~/mlflow.db") == f"sqlite:///{tmp_path}/home/mlflow.db"
    assert store_of(store_of("sqlite:///mlflow.db")) == store_of("sqlite:///mlflow.db")
