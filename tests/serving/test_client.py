"""The client says what the model says, or in one line why it cannot; and the server's own files are what it reads."""

from __future__ import annotations

import contextlib
import http.server
import importlib.util
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from tensorflow_serving.config import model_server_config_pb2

from hmnas_tf.exporters import serving_files

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "tools" / "serving_client.py"
BATCH = 8  # images that the client sends at a time
ROUNDING = 0.5e-4 + 1e-6  # of four decimals


def run(*arguments, python=(), timeout=600):
    environment = {
        **os.environ,
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        "PYTHONIOENCODING": "utf-8",
    }
    command = [sys.executable, *python, str(CLIENT), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", env=environment, timeout=timeout
    )


def complaint(process) -> str:
    """Returns the one line that a failed client said."""
    assert process.returncode == 2, process.stderr
    (line,) = process.stderr.splitlines()
    assert line.startswith("serving_client: ")
    return line


def require_answers(output: str, photos: Path, expected, top: int) -> None:
    lines = output.splitlines()
    files = sorted(photos.glob("*.png"))
    for line, file, classes in zip(lines, files, expected, strict=True):
        name, *pairs = line.split("\t")
        assert name == str(file)
        assert pairs[0::2] == [label for label, _ in classes[:top]]
        for shown, (_, probability) in zip(pairs[1::2], classes[:top], strict=True):
            assert len(shown) == len("0.1234")
            assert abs(float(shown) - probability) <= ROUNDING


@pytest.mark.slow
@pytest.mark.parametrize(
    ("top", "flags"), [(1, []), (1, ["--signature=classify"]), (3, ["--top=3"])], ids=str
)
def test_labels_and_probabilities_are_the_models(top, flags, address, servable, photos, expected):
    servable.batches.clear()
    process = run(address, f"--images={photos}/*.png", *flags)
    assert (process.returncode, process.stderr) == (0, "")
    require_answers(process.stdout, photos, expected, top)
    assert servable.batches == [BATCH, len(expected) - BATCH]


@pytest.mark.slow
def test_a_file_that_is_no_image_does_not_spoil_the_others(address, photos, expected, tmp_path):
    shutil.copytree(photos, tmp_path, dirs_exist_ok=True)
    (tmp_path / "03.txt").write_text("no image")
    (tmp_path / "04.txt").symlink_to(tmp_path / "nowhere")
    (tmp_path / "05").mkdir()
    process = run(address, f"--images={tmp_path}/*")
    assert process.returncode == 2
    require_answers(process.stdout, tmp_path, expected, top=1)
    no_image, no_file = process.stderr.splitlines()
    begin = f"serving_client: {tmp_path}"
    assert no_image.startswith(f"{begin}/03.txt: the server refuses it: Unknown image file format")
    assert no_file == f"{begin}/04.txt: cannot be read: No such file or directory"


@pytest.mark.slow
def test_a_model_that_the_server_does_not_have(address, photos):
    line = complaint(run(address, f"--images={photos}/*.png", "--model=other"))
    status = "NOT_FOUND" if address.startswith("--server") else "HTTP 404"
    assert line.endswith(
        f"model 'other', signature 'serving_bytes': {status}: Servable not found for request: Latest(other)"
    )


@pytest.mark.slow
def test_a_signature_that_the_model_does_not_have(address, photos):
    line = complaint(run(address, f"--images={photos}/*.png", "--model=bare"))
    status = "FAILED_PRECONDITION" if address.startswith("--server") else "HTTP 400"
    assert f"signature 'serving_bytes': {status}: Serving signature" in line
    assert line.endswith("not found.")


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["--server=127.0.0.1:{}", "--rest=http://127.0.0.1:{}"])
def test_a_server_that_is_not_there(flag, photos):
    with socket.socket() as bound:  # and does not listen
        bound.bind(("127.0.0.1", 0))
        address = flag.format(bound.getsockname()[1])
        line = complaint(run(address, f"--images={photos}/*.png"))
    assert line.startswith(f"serving_client: no answer from {address}: ")
    assert "refused" in line


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["--server=127.0.0.1:{}", "--rest=http://127.0.0.1:{}"])
def test_a_server_that_is_silent(flag, photos):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = flag.format(silent.getsockname()[1])
        started = time.monotonic()
        line = complaint(run(address, f"--images={photos}/*.png", "--timeout=0.5"))
    assert line.startswith(f"serving_client: no answer from {address}: ")
    assert time.monotonic() - started < 60


class Html(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(b"<html>\n<p>It works!\n</html>\n")

    def log_message(self, *arguments):
        """Says nothing."""


class Broken(Html):
    status = 500


def test_a_web_server_that_is_not_tf_serving(answer, photos):
    line = complaint(run(answer(Html), f"--images={photos}/*.png"))
    assert line.startswith("serving_client: the reply is not that of a model of hmnas_tf behind TF Serving: ")
    line = complaint(run(answer(Broken), f"--images={photos}/*.png"))
    assert line.endswith("HTTP 500: <html> <p>It works! </html>")


class Replying(Html):
    """Answers with status 200, or what `status` says, and a text."""

    text = ""
    location = ""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.status)
        if self.location:
            self.send_header("Location", self.location)
        self.end_headers()
        self.wfile.write(self.text.encode())

    def do_GET(self):
        raise AssertionError("the client follows nobody")


def predicted(probability: str, class_id: str = "0") -> str:
    row = f'{{"label": "cat", "class_id": {class_id}, "probabilities": [{probability}, 0.5]}}'
    return f'{{"predictions": [{row}]}}'


STRANGE = {
    predicted("NaN"): "nan is no probability",
    predicted("-Infinity"): "-inf is no probability",
    predicted("1e999"): "inf is no probability",
    predicted("17"): "17.0 is no probability",
    predicted("null"): "TypeError",
    predicted("1" + "0" * 400): "OverflowError",
    predicted("0.5", "-1"): "class_id -1",
    predicted("0.5", "7"): "IndexError",
    "": "it is no JSON, it begins with ''",
    "[" * 100_000: "RecursionError",
    '{"predictions": []}': "0 answers to 1 images",
}


@pytest.mark.parametrize("text", STRANGE, ids=lambda text: text[:60])
def test_an_answer_that_is_none_is_told(text, answer, photos):
    handler = type("Handler", (Replying,), {"text": text})
    process = run(answer(handler), f"--images={photos}/00.png")
    assert STRANGE[text] in complaint(process)
    assert process.stdout == ""


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_nobody_is_followed_to_another_page(status, answer, photos):
    handler = type("Handler", (Replying,), {"status": status, "location": "/login", "text": "<html>"})
    line = complaint(run(answer(handler), f"--images={photos}/*.png"))
    assert "sends elsewhere, to /login, perhaps to log in: pass the address" in line


class Dripping(Html):
    """Sends a byte of the head or the body now and then, for ever."""

    head = True

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        if not self.head:
            self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n")
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(b"a")
                self.wfile.flush()
                time.sleep(0.1)


@pytest.mark.parametrize("head", [True, False])
def test_the_timeout_is_that_of_the_whole_reply(head, answer, photos):
    started = time.monotonic()
    handler = type("Handler", (Dripping,), {"head": head})
    line = complaint(run(answer(handler), f"--images={photos}/*.png", "--timeout=1"))
    assert "no answer from" in line
    assert "after 1 s" in line
    assert time.monotonic() - started < 30


def test_without_its_packages_the_client_names_the_command_that_installs_them(photos, rest_address, expected):
    bare = ("-I", "-S")  # no packages at all
    line = complaint(run("--server=127.0.0.1:1", f"--images={photos}/*.png", python=bare))
    assert "needs the package grpc: pip install 'hmnas_tf[serving]'" in line
    process = run(rest_address, f"--images={photos}/*.png", python=bare)
    assert (process.returncode, process.stderr) == (0, "")
    require_answers(process.stdout, photos, expected, top=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rest=http://127.0.0.1:1", "--images={}/*.jpg"], "--images='{}/*.jpg' matches no file."),
        (["--images={}/*.png"], "one of the arguments --server --rest is required"),
        (["--rest=http://127.0.0.1:1"], "the following arguments are required: --images"),
        (["--rest=http://127.0.0.1:1", "--server=127.0.0.1:1", "--images={}/*"], "not allowed with argument"),
        (
            ["--rest=127.0.0.1:1", "--images={}/*"],
            "--rest: expected http://HOST:PORT, received '127.0.0.1:1'",
        ),
        (["--rest=http://127.0.0.1:1", "--images={}/*", "--signature=other"], "invalid choice: 'other'"),
        (["--rest=http://127.0.0.1:1", "--images={}/*", "--top=0"], "--top: expected 1 or more, received 0"),
        (
            ["--rest=http://127.0.0.1:1", "--images={}/*", "--timeout=0"],
            "--timeout: expected seconds above 0",
        ),
        (["--rest=http://127.0.0.1:1", "--images={}/*", "--timeout=x"], "invalid float value: 'x'"),
        (["--rest=http://127.0.0.1:1", "--images={}/*", "extra"], "unrecognized arguments: extra"),
        (
            ["--rest=http://127.0.0.1:1", "--images={}/*", "--top=2", "--signature=serving_bytes"],
            "--top=2 needs --signature=classify",
        ),
    ],
    ids=str,
)
def test_a_mistake_in_the_command_line_is_one_line(arguments, message, photos):
    line = complaint(run(*(argument.format(photos) for argument in arguments)))
    assert message.format(photos) in line


def test_a_file_name_that_is_no_text_is_shown_all_the_same(rest_address, photos, expected, tmp_path):
    shutil.copyfile(photos / "00.png", os.fsencode(tmp_path) + b"/\xff.png")
    process = run(rest_address, f"--images={tmp_path}/*.png")
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout.startswith(f"{tmp_path}/\\udcff.png\t{expected[0][0][0]}\t")


def test_without_a_file_that_can_be_read_the_server_is_not_asked(tmp_path):
    (tmp_path / "a.png").symlink_to(tmp_path / "nowhere")
    line = complaint(run("--rest=http://127.0.0.1:1", f"--images={tmp_path}/*.png"))
    assert line == f"serving_client: {tmp_path}/a.png: cannot be read: No such file or directory"


@pytest.fixture(scope="module")
def client():
    spec = importlib.util.spec_from_file_location("serving_client", CLIENT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_files_are_named_as_for_predict(client, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "new [1]").mkdir()
    for name in ("a [1].png", "b,c.png", "new [1]/d.png"):
        (tmp_path / name).touch()
    found = {
        "a [1].png": ["a [1].png"],
        "b,c.png": ["b,c.png"],
        "*.png": ["a [1].png", "b,c.png"],
        "new [1]": ["new [1]/d.png"],
        "new [1]/d.png,a [1].png": ["new [1]/d.png", "a [1].png"],
        "~/*,c.png": [f"{tmp_path}/b,c.png"],
    }
    for word, expected in found.items():
        assert [str(path) for path in client.files_of(word)] == expected
    for word in ("none.png", "a [1].png,none.png", "a [1]*.jpg"):
        with pytest.raises(client.Stop, match="matches no file"):
            client.files_of(word)


def test_the_documented_commands_are_understood(client):
    texts = [(ROOT / "docs" / "serving.md").read_text(encoding="utf-8"), client.__doc__]
    for text in texts:
        commands = re.findall(r"^ *python tools/serving_client.py (.*)$", text, re.MULTILINE)
        assert {tuple(client.parse(shlex.split(command)).images) for command in commands} == {
            ("photos/*.png",)
        }


# The server's files. Its package holds the first message; the others are written out here, as far as our files use them
# (session_bundle_config.proto, monitoring_config.proto).

NUMBER, FLAG, TEXT, MESSAGE = 3, 8, 9, 11  # FieldDescriptorProto.Type
MESSAGES = {  # name: {field: (number, type, message, repeated)}
    "Int64Value": {"value": (1, NUMBER, None, False)},
    "BatchingParameters": {
        "max_batch_size": (1, MESSAGE, "Int64Value", False),
        "batch_timeout_micros": (2, MESSAGE, "Int64Value", False),
        "max_enqueued_batches": (3, MESSAGE, "Int64Value", False),
        "num_batch_threads": (4, MESSAGE, "Int64Value", False),
        "allowed_batch_sizes": (6, NUMBER, None, True),
    },
    "PrometheusConfig": {"enable": (1, FLAG, None, False), "path": (2, TEXT, None, False)},
    "MonitoringConfig": {"prometheus_config": (1, MESSAGE, "PrometheusConfig", False)},
}
PACKAGE = "hmnas_tf_tests"  # not that of TF Serving, with which it must not collide


@pytest.fixture(scope="module")
def kinds():
    """The class of the message that each file holds."""
    file = descriptor_pb2.FileDescriptorProto(name="serving_test.proto", package=PACKAGE, syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind, of, repeated) in fields.items():
            label = 3 if repeated else 1
            added = message.field.add(name=field, number=number, type=kind, label=label)
            if of:
                added.type_name = f".{PACKAGE}.{of}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    own = {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
        for name in ("BatchingParameters", "MonitoringConfig")
    }
    return {
        "models.config": model_server_config_pb2.ModelServerConfig,
        "batching.config": own["BatchingParameters"],
        "monitoring.config": own["MonitoringConfig"],
    }


@pytest.fixture(scope="module")
def configuration(kinds, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "serving"
    serving_files.write_configuration(folder)
    assert {path.name for path in folder.iterdir()} == set(kinds)
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def test_the_server_finds_the_model_under_its_name(configuration, kinds):
    parsed = text_format.Parse(configuration["models.config"], kinds["models.config"]())
    (model,) = parsed.model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == ("hmnas", "/models/hmnas", "tensorflow")
    assert model.model_version_policy.latest.num_versions == 1


def test_the_documented_versions_and_labels_parse(kinds):
    text = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```textproto\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (model,) = text_format.Parse(block, kinds["models.config"]()).model_config_list.config
    assert set(model.version_labels.values()) <= set(model.model_version_policy.specific.versions)


def test_the_server_fills_batches_up_to_sizes_that_were_warmed_up(configuration, kinds):
    parsed = text_format.Parse(configuration["batching.config"], kinds["batching.config"]())
    sizes = list(parsed.allowed_batch_sizes)
    assert sizes == sorted(set(serving_files.BATCH_SIZES))
    assert sizes[-1] == parsed.max_batch_size.value  # or the server does not start
    assert BATCH in sizes
    for field in ("batch_timeout_micros", "max_enqueued_batches", "num_batch_threads"):
        assert getattr(parsed, field).value > 0


def test_the_server_tells_its_metrics(configuration, kinds):
    parsed = text_format.Parse(configuration["monitoring.config"], kinds["monitoring.config"]())
    assert parsed.prometheus_config.enable
    assert parsed.prometheus_config.path == "/monitoring/prometheus/metrics"


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [
        ("models.config", "name:", "nme:"),
        ("models.config", "model_config_list {", "model_config_list: ["),
        ("models.config", "num_versions: 1", 'num_versions: "1"'),
        ("batching.config", "max_batch_size { value: 32 }", "max_batch_size: 32"),
        ("batching.config", "allowed_batch_sizes", "allowed_batchsizes"),
        ("monitoring.config", "enable: true", "enabled: true"),
    ],
)
def test_a_typo_is_noticed(file, right, wrong, configuration, kinds):
    text = configuration[file]
    assert right in text
    with pytest.raises(text_format.ParseError):
        text_format.Parse(text.replace(right, wrong, 1), kinds[file]())
