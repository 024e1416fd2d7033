"""The package for browsers: fetched once, kept, and refused if it is not the one that pages were tested with."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import tarfile

import pytest

from hmnas_tf.exporters import npm_package

FILES = {"dist/a.js": b"export {};\n", "LICENSE": b"MIT\n"}


def packed(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


PACKAGE = packed(FILES)


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """A program named npm that hands out a package, and counts in a file how often it did."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "package.tgz").write_bytes(PACKAGE)
    program = tmp_path / "bin" / "npm"
    program.write_text(
        f'#!/bin/sh\necho "$*" >> "{tmp_path}/calls"\n'
        f'[ -e "{tmp_path}/package.tgz" ] && exec cp "{tmp_path}/package.tgz" .\n'
        'echo "npm warn old" >&2\necho "npm error code ENOTFOUND" >&2\necho "npm error more" >&2\nexit 1\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    digest = base64.b64encode(hashlib.sha512(PACKAGE).digest()).decode()
    monkeypatch.setattr(npm_package, "INTEGRITY", digest)
    return lambda: (tmp_path / "calls").read_text().splitlines() if (tmp_path / "calls").exists() else []


def test_it_is_fetched_once_and_then_needs_no_network(calls, tmp_path):
    assert npm_package.missing_package() == []
    assert npm_package.members(FILES) == FILES
    (tmp_path / "package.tgz").unlink()
    assert npm_package.members(["LICENSE"]) == {"LICENSE": b"MIT\n"}
    (call,) = calls()
    assert call.startswith(f"pack onnxruntime-web@{npm_package.VERSION} ")
    name = f"onnxruntime-web-{npm_package.VERSION}.tgz"
    assert os.listdir(tmp_path / "cache" / "hmnas_tf") == [name]


def test_a_kept_file_that_was_damaged_is_fetched_again(calls):
    npm_package.package().write_bytes(PACKAGE[:-1])
    assert npm_package.package().read_bytes() == PACKAGE
    assert len(calls()) == 2


def refused() -> str:
    (message,) = npm_package.missing_package()
    assert "\n" not in message
    assert not npm_package.kept_package().exists()
    return message


def test_another_package_under_the_name_is_refused(calls, tmp_path):
    (tmp_path / "package.tgz").write_bytes(packed({"dist/a.js": b"steal();"}))
    message = refused()
    assert message.startswith(f"web: 'npm pack onnxruntime-web@{npm_package.VERSION}' gave another file")


def test_without_a_network_a_line_says_what_npm_said_and_what_to_do(calls, tmp_path):
    (tmp_path / "package.tgz").unlink()
    message = refused()
    assert "failed (code ENOTFOUND): try again with a network, or put what" in message
    assert message.endswith(f"on another machine into {tmp_path}/cache/hmnas_tf")


def test_an_npm_that_does_not_answer_is_left(calls, tmp_path, monkeypatch):
    (tmp_path / "bin" / "npm").write_text("#!/bin/sh\nexec sleep 9\n")
    monkeypatch.setattr(npm_package, "LONGEST", 0.2)
    assert "failed (no answer within 0.2 seconds)" in refused()


def test_without_npm_a_line_says_what_to_do(calls, monkeypatch):
    monkeypatch.setattr(npm_package.shutil, "which", lambda name: None)
    message = refused()
    assert message.startswith("web: expected /")
    assert (
        "or npm to fetch it, received neither: install Node.js, or put what 'npm pack onnxruntime-web@"
        in message
    )
    with pytest.raises(ImportError, match="^web: expected"):
        npm_package.members(FILES)
