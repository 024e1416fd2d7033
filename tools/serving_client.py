"""Asks a running TF Serving what image files show, over gRPC or over REST.

    python tools/serving_client.py --server=localhost:8500 --images='photos/*.png'
    python tools/serving_client.py --rest=http://localhost:8501 --images='photos/*.png'

Prints what `python -m hmnas_tf.predict` prints: a line an image with file, label and probability, separated by tabs.
REST needs Python alone, gRPC also `pip install 'hmnas_tf[serving]'`. The model lies with the server, so that neither
hmnas_tf nor Keras is used here. Whatever goes wrong is one line on standard error and exit code 2.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import glob
import http.client
import json
import os
import queue
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

BATCH = 8  # images a request; the server runs it as one batch
LONGEST = 1 << 26  # bytes of a reply: a batch of ours takes far less
ROUNDING = 1e-3  # by which a probability may leave 0 to 1
EXAMPLE_FEATURE = "image/encoded"
FILES, CLASSIFY = "serving_bytes", "classify"

Classes = list[tuple[str, float]]  # label and probability, the likeliest first
Ask = Callable[[Sequence[bytes]], list[Classes]]  # encoded images to what they show


class Stop(Exception):
    """No image can be classified: the server, the model or the signature is not there."""


class Rejected(Exception):
    """The server takes requests, but not these images."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code, 2 if anything went wrong."""
    sys.stdout.reconfigure(errors="backslashreplace")  # a file name need not be text
    arguments = parse(argv)
    try:
        paths = [path for word in arguments.images for path in files_of(word)]
        code = 0
        for path, outcome in outcomes((over_rest if arguments.rest else over_grpc)(arguments), paths):
            if isinstance(outcome, Exception):
                complain(f"{path}: {outcome}")
                code = 2
            else:
                named = [f"{label}\t{probability:.4f}" for label, probability in outcome[: arguments.top]]
                print("\t".join([str(path), *named]), flush=True)
    except Stop as error:
        complain(error)
        return 2
    except KeyboardInterrupt:
        complain("stopped by Ctrl-C (SIGINT). Start it again.")
        return 130
    return code


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line; a mistake ends the program with one line."""
    parser = _Parser(prog="serving_client", description=__doc__.splitlines()[0], allow_abbrev=False)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--server", metavar="HOST:PORT", help="gRPC: host and port of the server, without TLS")
    where.add_argument("--rest", metavar="URL", help="REST: where the server answers, http://HOST:PORT")
    parser.add_argument(
        "--images",
        required=True,
        action="append",
        help="image files: a file, a folder, a glob pattern in quotes, where ** is any folders, or several with commas",
    )
    parser.add_argument("--model", default="hmnas", help="name of the model on the server (hmnas)")
    parser.add_argument(
        "--signature",
        choices=(FILES, CLASSIFY),
        help=f"{FILES} names the likeliest class, {CLASSIFY} all of them ({FILES}; {CLASSIFY} if --top is above 1)",
    )
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds that a request may take (30)")
    parser.add_argument(
        "--top", type=int, default=1, help="number of classes to name, the likeliest first (1)"
    )
    arguments = parser.parse_args(argv)
    if arguments.top < 1:
        parser.error(f"--top: expected 1 or more, received {arguments.top}")
    if not 0 < arguments.timeout < float("inf"):
        parser.error(f"--timeout: expected seconds above 0, received {arguments.timeout}")
    if arguments.rest and not arguments.rest.startswith(("http://", "https://")):
        parser.error(f"--rest: expected http://HOST:PORT, received {arguments.rest!r}")
    arguments.signature = arguments.signature or (FILES if arguments.top == 1 else CLASSIFY)
    if arguments.signature == FILES and arguments.top > 1:
        parser.error(
            f"--top={arguments.top} needs --signature={CLASSIFY}: {FILES} names only the likeliest class"
        )
    return arguments


def files_of(word: str) -> list[Path]:
    """Returns the files that a word names: a file, all in a folder, those of a pattern or of several such words.

    Raises:
        Stop: if there is none.
    """
    name = word if os.path.lexists(word) else os.path.expanduser(word)
    pattern = glob.escape(name) if os.path.lexists(name) else name
    found = glob.glob(os.path.join(pattern, "**") if os.path.isdir(name) else pattern, recursive=True)
    paths = sorted(path for path in map(Path, found) if not path.is_dir())
    if not paths and "," in word:
        return [path for part in word.split(",") if part.strip() for path in files_of(part.strip())]
    if not paths:
        raise Stop(f"--images={word!r} matches no file.")
    return paths


def outcomes(ask: Ask, paths: Sequence[Path]) -> Iterator[tuple[Path, Classes | Exception]]:
    """Yields each file with what it shows or, if it cannot be read or is no image, with the reason."""
    for start in range(0, len(paths), BATCH):
        contents = {path: _read(path) for path in paths[start : start + BATCH]}
        answers = iter(
            _answers(ask, [content for content in contents.values() if isinstance(content, bytes)])
        )
        for path, content in contents.items():
            yield path, next(answers) if isinstance(content, bytes) else content


def _read(path: Path) -> bytes | Exception:
    try:
        return path.read_bytes()
    except OSError as error:
        return ValueError(f"cannot be read: {error.strerror}")


def _answers(ask: Ask, images: Sequence[bytes]) -> list[Classes | Exception]:
    if not images:
        return []
    try:
        return list(ask(images))
    except Rejected as error:
        if len(images) == 1:
            return [error]
        return [
            answer for image in images for answer in _answers(ask, [image])
        ]  # one bad image fails them all


def over_grpc(arguments: argparse.Namespace) -> Ask:
    """Returns a function that asks over gRPC; the signature `classify` has a method of its own there."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        with _quiet():  # TensorFlow, which the messages of TF Serving need
            import grpc
            import tensorflow as tf
            from tensorflow_serving.apis import classification_pb2, predict_pb2, prediction_service_pb2_grpc
    except ImportError as error:
        missing = f"the package {error.name}" if error.name else f"a package that cannot be loaded ({error})"
        raise Stop(f"--server needs {missing}: pip install 'hmnas_tf[serving]', or use --rest.") from error
    service = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(arguments.server))

    def classify(images: Sequence[bytes]) -> list[Classes]:
        request = classification_pb2.ClassificationRequest()
        for image in images:
            example = request.input.example_list.examples.add()
            example.features.feature[EXAMPLE_FEATURE].bytes_list.value.append(image)
        reply = send(service.Classify, request)
        return [[(one.label, one.score) for one in row.classes] for row in reply.result.classifications]

    def predict(images: Sequence[bytes]) -> list[Classes]:
        request = predict_pb2.PredictRequest()
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(list(images), tf.string))
        outputs = send(service.Predict, request).outputs
        names = ("label", "class_id", "probabilities")
        label, chosen, probabilities = (tf.make_ndarray(outputs[name]) for name in names)
        rows = zip(label, chosen, probabilities, strict=True)
        return [[(name.decode(), float(_at(row, index)))] for name, index, row in rows]

    def send(method: Callable[..., Any], request: Any) -> Any:
        request.model_spec.name, request.model_spec.signature_name = arguments.model, arguments.signature
        try:
            return method(request, timeout=arguments.timeout)
        except grpc.RpcError as error:
            code, reason = error.code(), error.details()
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            raise Stop(f"no answer from --server={arguments.server}: {reason}")
        raise _refusal(arguments, code == grpc.StatusCode.INVALID_ARGUMENT, code.name, reason)

    return _checked(classify if arguments.signature == CLASSIFY else predict)


def over_rest(arguments: argparse.Namespace) -> Ask:
    """Returns a function that asks over REST; the signature `classify` has a verb of its own there."""
    classifies = arguments.signature == CLASSIFY
    model = urllib.parse.quote(arguments.model, safe="")
    verb = "classify" if classifies else "predict"
    address = f"{arguments.rest.rstrip('/')}/v1/models/{model}:{verb}"

    def ask(images: Sequence[bytes]) -> list[Classes]:
        encoded = [{"b64": base64.b64encode(image).decode("ascii")} for image in images]
        if classifies:
            reply = send({"examples": [{EXAMPLE_FEATURE: image} for image in encoded]})
            return [[(str(label), float(score)) for label, score in row] for row in reply["results"]]
        reply = send({"instances": encoded})
        rows = reply["predictions"]
        return [[(str(row["label"]), float(_at(row["probabilities"], row["class_id"])))] for row in rows]

    def send(body: dict[str, Any]) -> Any:
        content = json.dumps({"signature_name": arguments.signature, **body}).encode()
        request = urllib.request.Request(address, content, {"Content-Type": "application/json"})
        try:
            status, elsewhere, text = _within(arguments.timeout, lambda: _reply(request, arguments.timeout))
        except (OSError, http.client.HTTPException) as error:
            raise Stop(
                f"no answer from --rest={arguments.rest}: {getattr(error, 'reason', error)}"
            ) from error
        if status == http.HTTPStatus.OK:
            return _parsed(text)
        if elsewhere:
            raise Stop(
                f"--rest={arguments.rest} sends elsewhere, to {elsewhere}, perhaps to log in: pass the address where "
                "TF Serving itself answers."
            )
        raise _refusal(
            arguments, status == http.HTTPStatus.BAD_REQUEST, f"HTTP {status}", _reason(status, text)
        )

    return _checked(ask)


def _at(row: Any, index: Any) -> Any:
    if index < 0:  # Python would count from the end
        raise IndexError(f"class_id {index}")
    return row[index]


def _checked(ask: Ask) -> Ask:
    """Turns a reply of another form than that of our models into `Stop`."""

    def checked(images: Sequence[bytes]) -> list[Classes]:
        try:
            answers = ask(images)
            scores = [score for answer in answers for _, score in answer]
            strange = [score for score in scores if not -ROUNDING <= score <= 1.0 + ROUNDING]  # NaN too
            if strange:
                reason = f"{strange[0]} is no probability"
            elif len(answers) == len(images) and all(answers):
                return answers
            else:
                reason = f"{len(answers)} answers to {len(images)} images"
        except (AttributeError, ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__} {error}"
        raise Stop(f"the reply is not that of a model of hmnas_tf behind TF Serving: {reason}")

    return checked


def _refusal(arguments: argparse.Namespace, invalid: bool, status: str, reason: str) -> Exception:
    # TF Serving gives a signature that is not there the same status, over REST, as an image that is none.
    if invalid and "signature" not in reason:
        return Rejected(
            f"the server refuses it: {reason.partition('[[')[0]}"
        )  # without names of the graph's nodes
    return Stop(f"model {arguments.model!r}, signature {arguments.signature!r}: {status}: {reason}")


def _reason(status: int, text: bytes) -> str:
    try:
        return str(json.loads(text)["error"])
    except (
        ValueError,
        LookupError,
        TypeError,
        RecursionError,
    ):  # TF Serving escapes some characters as JSON does not
        return text[:500].decode("utf-8", "replace") or http.client.responses.get(status, "")


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        begins = " ".join(text[:60].decode("utf-8", "replace").split())
        raise ValueError(f"it is no JSON, it begins with {begins!r}") from error


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows nobody: what another page says, such as one to log in, is no answer of the model."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


def _reply(request: urllib.request.Request, timeout: float) -> tuple[int, str, bytes]:
    """Returns the status, where the server sends to instead, and the body."""
    try:
        reply = urllib.request.build_opener(_NoRedirect).open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        reply = error
    with reply:
        text = reply.read(LONGEST + 1)
    if len(text) > LONGEST:
        raise ConnectionError(f"it sends more than {LONGEST:,} bytes")
    redirects = http.HTTPStatus.MULTIPLE_CHOICES <= reply.status < http.HTTPStatus.BAD_REQUEST
    return reply.status, reply.headers.get("Location", "") if redirects else "", text


def _within(seconds: float, work: Callable[[], Any]) -> Any:
    """Returns what `work` does; a socket's own timeout begins anew with every byte.

    Raises:
        TimeoutError: if it takes longer; what it does then goes on, but nobody waits for it.
    """
    done: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue()

    def run() -> None:
        try:
            done.put((work(), None))
        except BaseException as error:  # it is raised below
            done.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        result, error = done.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"the reply was not there after {seconds:g} s") from None
    if error is not None:
        raise error
    return result


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences what TensorFlow's C++ code says of the machine when it is loaded."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


class _Parser(argparse.ArgumentParser):
    """Tells a mistake in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        complain(message)
        sys.exit(2)


def complain(message: object) -> None:
    """Shows one line on standard error."""
    print(f"serving_client: {' '.join(str(message).split())}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
