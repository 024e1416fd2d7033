"""The files of a run: what each is for, how large and how exact it is, and the commands that use them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from hmnas_tf.reporting.elements import Html, code, element, joined, table
from hmnas_tf.reporting.facts import Facts
from hmnas_tf.reporting.words import percent, size

FILES = {  # files of the run folder that people read
    "genotype.json": "the architecture",
    "results.json": "all numbers of this page",
    "metrics.csv": "one row an epoch",
    "architecture.jsonl": "alpha and beta after each epoch of the search",
    "run.flags": "all settings",
}


def link(path: str) -> Html:
    """Returns a link to a file of the run folder, in which the report lies."""
    return element("a", path, href=quote(path))


def memory(found: Mapping[str, Any]) -> str:
    """Returns the memory that one image needs in an artifact, "" if an older version has not measured it."""
    if "memory_bytes" not in found:
        return ""
    arena = f", arena {size(found['arena_bytes'])}" if "arena_bytes" in found else ""
    return f"{size(found['memory_bytes'])}{arena}"


def files(facts: Facts) -> Html:
    """Returns the exported artifacts with their measurements, and the other files."""
    parts: list[object] = []
    if facts.finished:
        rows = [
            (
                link(found["path"]),
                facts.purposes.get(name, ""),
                size(found["bytes"]),
                size(found["gzip_bytes"]),
                percent(found["test_error"]),
                percent(found["scores"]["macro"]["f1"]) if "scores" in found else "",
                percent(found["scores"]["calibration_error"]) if "scores" in found else "",
                f"{found['max_abs_difference']:.1e}" if "max_abs_difference" in found else "",
                f"{1e3 * found['seconds']['batch_1']:.2f} ms" if "seconds" in found else "",
                memory(found),
            )
            for name, found in facts.results["artifacts"].items()
        ]
        columns = (
            "File",
            "For",
            "Size",
            "Gzip",
            "Test error",
            "Macro F1",
            "Calibration",
            "Difference",
            "One image",
            "Memory",
        )
        parts.append(table("The network in each format", columns, rows, words=2))
        parts.append(
            element(
                "p",
                "Each file was run on the test images by its own runtime. Gzip is the size of a compressed download, "
                "the difference the largest of any logit from the trained network's; times are of the machine below. "
                "Macro F1 and calibration error are explained with the classes. Memory is what the activations of one "
                "image need at once in the best order of operations, without weights; an arena is all that an "
                "interpreter for microcontrollers needs.",
            )
        )
    others = [(link(name), FILES[name]) for name in FILES if name in facts.files]
    if others:
        parts.append(table("Other files", ("File", "Is"), others, words=2))
    return joined(*parts)


def commands(facts: Facts) -> Html:
    """Returns the commands that use the result and repeat the run."""
    workdir = shlex.quote(str(facts.workdir))
    flag_file, again = (shlex.quote(f"{facts.workdir}{ending}") for ending in ("/run.flags", "_again"))
    shown: list[tuple[str, str]] = []
    if facts.finished:
        shown += [
            (
                "Name what image files show, without a server",
                f"python -m hmnas_tf.predict --workdir={workdir} --images='photos/*.png'",
            ),
            ("Measure the test error of each file again", f"python -m hmnas_tf.evaluate --workdir={workdir}"),
            (
                "Write other formats",
                f"python -m hmnas_tf.export --workdir={workdir} --formats=onnx,litert --quantize=int8",
            ),
        ]
        shown += [
            (
                f"Look at {facts.purposes[name]}",
                command.format(
                    path=shlex.quote(f"{facts.workdir}/{facts.results['artifacts'][name]['path']}")
                ),
            )
            for name, command in facts.shown_by.items()
            if name in facts.results["artifacts"]
        ]
        if "saved_model" in facts.results["artifacts"]:
            shown.append(("Serve it over HTTP, with Docker", serving_command(str(facts.workdir))))
    else:
        shown.append(("Continue", f"python -m hmnas_tf.search --flagfile={flag_file} --workdir={workdir}"))
    shown.append(
        (
            "Repeat the run in another folder",
            f"python -m hmnas_tf.search --flagfile={flag_file} --workdir={again}",
        )
    )
    return joined(*(joined(element("h3", title), code(command)) for title, command in shown))


def serving_command(workdir: str) -> str:
    """Returns the command that serves a run's SavedModel; Docker wants an absolute path."""
    mount = f"{workdir}/model/saved_model:/models/hmnas"
    here = "" if workdir.startswith("/") else "$PWD/"
    words = f'"{here}{mount}"' if shlex.quote(mount) == mount else f'"{here}"{shlex.quote(mount)}'
    return f"docker run --rm -p 8501:8501 -v {words} -e MODEL_NAME=hmnas tensorflow/serving"
