"""A tiny servable of ours behind two doubles of TF Serving, one for gRPC and one for REST.

The doubles run it in TensorFlow's C library, as TF Serving does, and answer by its rules: which status and which words
it gives to which mistake was read in its sources (predict_util.cc, http_rest_api_handler.cc, json_tensor.cc). They test
the client; they are no test of TF Serving.
"""

from __future__ import annotations

import base64
import http.server
import json
import re
import threading
from concurrent import futures
from pathlib import Path

import grpc
import keras
import numpy as np
import pytest
from PIL import Image
from tensorflow.core.framework import tensor_pb2
from tensorflow.python.framework import tensor_util
from tensorflow_serving.apis import classification_pb2, predict_pb2, prediction_service_pb2_grpc

from hmnas_tf.exporters import contract
from hmnas_tf.exporters.saved_model import export_saved_model
from hmnas_tf.runtimes.saved_model_folder import Artifact

SHAPE = (8, 8, 3)
NAMES = ("cat", "zwölf", "dog")
MEAN, STD = (0.5, 0.25, 0.125), (0.5, 1.0, 2.0)
IMAGES = 11  # more than the client sends at a time
FIELDS = {1: "float_val", 9: "int64_val", 7: "string_val"}  # DataType to the field that TF Serving fills


class Refusal(Exception):
    """A gRPC status and what TF Serving says with it."""

    def __init__(self, code: grpc.StatusCode, text: str):
        super().__init__(text)
        self.code = code


class Servable:
    """What the doubles serve: `hmnas` with all signatures, `bare` with `serving_default` alone."""

    def __init__(self, path: Path):
        self._artifact = Artifact(path)
        self._lock = threading.Lock()  # the artifact has one status
        self.batches: list[int] = []

    def run(self, model: str, signature: str, **inputs) -> dict[str, np.ndarray]:
        if model not in ("hmnas", "bare"):
            raise Refusal(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({model})")
        known = ("serving_default",) if model == "bare" else tuple(self._artifact.signatures)
        if signature not in known:
            raise Refusal(
                grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{signature}" not found.'
            )
        if set(inputs) != set(self._artifact.signatures[signature][0]):
            raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, "input size does not match signature")
        with self._lock:
            self.batches.append(len(next(iter(inputs.values()))))
            try:
                return self._artifact.run(signature, **inputs)
            except RuntimeError as error:
                number = self._artifact._library.GetCode(self._artifact._status)
                (code,) = (code for code in grpc.StatusCode if code.value[0] == number)
                raise Refusal(code, str(error)) from error


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, servable: Servable):
        self._servable = servable

    def Predict(self, request, context):
        inputs = {name: tensor_util.MakeNdarray(tensor) for name, tensor in request.inputs.items()}
        inputs = {name: list(value) if value.dtype == object else value for name, value in inputs.items()}
        outputs = self._run(request.model_spec, context, **inputs)
        return predict_pb2.PredictResponse(outputs={name: tensor(value) for name, value in outputs.items()})

    def Classify(self, request, context):
        examples = [example.SerializeToString() for example in request.input.example_list.examples]
        outputs = self._run(request.model_spec, context, inputs=examples)
        response = classification_pb2.ClassificationResponse()
        for labels, scores in zip(outputs["classes"], outputs["scores"], strict=True):
            row = response.result.classifications.add()
            for label, score in zip(labels, scores, strict=True):
                row.classes.add(label=label.decode(), score=score)
        return response

    def _run(self, spec, context, **inputs):
        try:
            return self._servable.run(spec.name, spec.signature_name or "serving_default", **inputs)
        except Refusal as refusal:
            context.abort(refusal.code, str(refusal))


def tensor(value: np.ndarray) -> tensor_pb2.TensorProto:
    """Returns a tensor in typed fields, not as one string of bytes: so TF Serving answers."""
    kind = {"f": 1, "i": 9, "O": 7}[value.dtype.kind]
    proto = tensor_pb2.TensorProto(dtype=kind)
    for size in value.shape:
        proto.tensor_shape.dim.add(size=size)
    getattr(proto, FIELDS[kind]).extend(value.ravel().tolist())
    return proto


class RestHandler(http.server.BaseHTTPRequestHandler):
    """Answers `:predict` with one string input in rows, and `:classify`."""

    servable: Servable

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = re.fullmatch(r"/v1/models/([^/:]+):(predict|classify)", self.path)
        try:
            if path is None:
                raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, f"Malformed request: POST {self.path}")
            reply, status = getattr(self, path[2])(path[1], body), 200
        except Refusal as refusal:
            reply = {"error": str(refusal)}
            status = {grpc.StatusCode.NOT_FOUND: 404}.get(refusal.code, 400)
        content = json.dumps(reply, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def predict(self, model, body):
        files = [base64.b64decode(instance["b64"], validate=True) for instance in body["instances"]]
        outputs = self.servable.run(model, body["signature_name"], image_bytes=files)
        return {"predictions": [dict(zip(outputs, row, strict=True)) for row in rows(outputs)]}

    def classify(self, model, body):
        request = classification_pb2.ClassificationRequest()
        for example in body["examples"]:
            features = request.input.example_list.examples.add().features
            for name, value in example.items():
                content = base64.b64decode(value["b64"], validate=True)
                features.feature[name].bytes_list.value.append(content)
        examples = [example.SerializeToString() for example in request.input.example_list.examples]
        outputs = self.servable.run(model, body["signature_name"], inputs=examples)
        pairs = rows({name: outputs[name] for name in ("classes", "scores")})
        return {"results": [list(zip(*pair, strict=True)) for pair in pairs]}

    def log_message(self, *arguments):
        """Says nothing."""


def rows(outputs: dict[str, np.ndarray]) -> list[tuple]:
    """Turns columns into rows, bytes into text."""

    def plain(value):
        return value.decode() if isinstance(value, bytes) else value

    columns = []
    for value in outputs.values():
        column = value.tolist()
        columns.append([[*map(plain, item)] if isinstance(item, list) else plain(item) for item in column])
    return list(zip(*columns, strict=True))


@pytest.fixture(scope="session")
def model() -> keras.Model:
    """Random weights, probabilities far from equal."""
    image = keras.Input(SHAPE, name="image")
    x = keras.layers.Conv2D(8, 3, activation="relu")(image)
    logits = keras.layers.Dense(len(NAMES), name="logits")(keras.layers.Flatten()(x))
    model = keras.Model(image, logits)
    random = np.random.default_rng(3)
    for variable in model.weights:
        variable.assign(random.standard_normal(variable.shape) * 0.15)
    return model


@pytest.fixture(scope="session")
def servable(model, tmp_path_factory) -> Servable:
    labelling = contract.Labelling(NAMES, MEAN, STD, SHAPE)
    cargo = contract.Cargo(model, labelling, "{}", np.zeros((1, *SHAPE), np.uint8))
    base = tmp_path_factory.mktemp("model") / "saved_model"
    return Servable(export_saved_model(cargo, base, check=lambda folder: None))


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """A folder of PNG files of the size of the model's input."""
    folder = tmp_path_factory.mktemp("photos")
    pixels = np.random.default_rng(4).integers(0, 256, (IMAGES, *SHAPE), np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture(scope="session")
def expected(model, photos) -> list[list[tuple[str, float]]]:
    """What the Keras model says of each file, all classes, the likeliest first."""
    pixels = np.stack([np.asarray(Image.open(path)) for path in sorted(photos.iterdir())])
    images = ((pixels / 255 - MEAN) / STD).astype(np.float32)
    probabilities = keras.ops.softmax(model(images, training=False)).numpy().tolist()
    rows = [sorted(zip(NAMES, row, strict=True), key=lambda pair: -pair[1]) for row in probabilities]
    assert len({row[0][0] for row in rows}) > 1, "the test needs images of several classes"
    return rows


@pytest.fixture(scope="session")
def grpc_address(servable):
    """`--server=` of the double."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(servable), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"--server=127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture(scope="session")
def rest_address(servable):
    """`--rest=` of the double."""
    yield from answering(type("Handler", (RestHandler,), {"servable": servable}))


@pytest.fixture
def answer():
    """Starts a web server with the given handler and returns its `--rest=`."""
    running = []

    def start(handler):
        running.append(answering(handler))
        return next(running[-1])

    yield start
    for server in running:
        next(server, None)


def answering(handler):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"--rest=http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session", params=["grpc", "rest"])
def address(request):
    return request.getfixturevalue(f"{request.param}_address")
