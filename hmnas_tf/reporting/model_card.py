"""The model card, `model/README.md`: what a stranger must know of the network, in the form that Hugging Face reads.

Only what the run has measured is said. Names come from data, so they are escaped: in the front matter as JSON, which
is YAML as well, in the text with a backslash before each sign that Markdown could read as its own.
"""

from __future__ import annotations

import json
import re
import shlex
import unicodedata
from typing import Any

from hmnas_tf.console.mistakes import in_a_line
from hmnas_tf.console.paths import PLACES
from hmnas_tf.console.progress import counted
from hmnas_tf.reporting.facts import Facts
from hmnas_tf.reporting.loading import fenced, loading
from hmnas_tf.reporting.results_table import markdown_table
from hmnas_tf.reporting.words import date, percent, size

MANY = 30  # classes; more of them are folded away
TAGS = {"saved_model": "tf-saved-model", "onnx": "onnx", "litert": "tflite"}  # of artifacts
PAPER = """@inproceedings{yan2019hmnas,
  title = {{HM-NAS}: Efficient Neural Architecture Search via Hierarchical Masking},
  author = {Yan, Shen and Fang, Biyi and Zhang, Faen and Zheng, Yu and Zeng, Xiao and Xu, Hui and Zhang, Mi},
  booktitle = {IEEE/CVF International Conference on Computer Vision Workshops},
  year = {2019},
  note = {arXiv:1909.00122}
}"""


def card(facts: Facts) -> str:
    """Returns the model card of a finished run as the text of a Markdown file."""
    parts = [_front_matter(facts), f"# {plain(facts.name)}\n", _what(facts)]
    for title, section in SECTIONS.items():
        if content := section(facts):
            parts += [f"## {title}\n", content]
    return "\n".join(parts)


def plain(text: str) -> str:
    """Returns a text that Markdown shows as it is, in one line, also in a table.

    >>> print(plain("a*b|<c>"))
    a\\*b\\|\\<c\\>
    """
    return re.sub(r"([\\`*_{}\[\]<>#|&~$!@:^=])", r"\\\1", in_a_line(text))


def _yaml(value: Any) -> str:
    """Returns a value as JSON that YAML reads as the same; signs that YAML does not print are escaped in its way."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(
        sign if unicodedata.category(sign)[0] != "C" and sign not in "\u2028\u2029" else f"\\U{ord(sign):08x}"
        for sign in text
    )


def _front_matter(facts: Facts) -> str:
    """Returns what Hugging Face reads. No licence: that is for whoever gives the network away."""
    artifacts, final = facts.results["artifacts"], facts.stages["finetuned"]
    tags = ["image-classification", "neural-architecture-search", "hm-nas"]
    tags += [tag for name, tag in TAGS.items() if name in artifacts]
    data = _data_name(facts)
    measured = {"type": "accuracy", "name": "Test accuracy", "value": round(1 - final["test_error"] / 100, 6)}
    result = {
        "task": {"type": "image-classification", "name": "Image classification"},
        "dataset": {"name": data, "type": data, "split": "test"},
        "metrics": [measured],
    }
    entries = {
        "library_name": "keras",
        "pipeline_tag": "image-classification",
        "tags": tags,
        "model-index": [{"name": facts.name, "results": [result]}],
    }
    return "".join(["---\n", *(f"{key}: {_yaml(value)}\n" for key, value in entries.items()), "---\n"])


def _data_name(facts: Facts) -> str:
    """Returns what the data are called; of a path its last part: where it lay concerns nobody."""
    name = facts.results["dataset"]["name"]
    if not name.startswith(PLACES):
        return name
    kind, _, path = name.partition(":")
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1] or kind


def _what(facts: Facts) -> str:
    final, names = facts.stages["finetuned"], facts.class_names
    height, width, channels = facts.results["dataset"]["image_shape"]
    kept = f"{final['params_nonzero']:,} of its {final['params']:,} parameters are not 0"
    return (
        f"Tells {len(names):,} classes of pictures apart. A convolutional network for inputs of {height} x "
        f"{width} x {channels}, found by HM-NAS (hierarchical masking, arXiv:1909.00122) with hmnas\\_tf: {kept}, one "
        f"image costs {final['flops']:,} multiply-adds.\n"
    )


def _classes(facts: Facts) -> str:
    names = facts.class_names
    heads, rows = ["label", "class"], [[str(label), plain(name)] for label, name in enumerate(names)]
    if facts.judgement:
        confusion = facts.judgement.confusion()
        heads += ["test images", "of these recognised %", "rightly called so %"]
        for label, row in enumerate(rows):
            right, of_class, called = (
                int(part)
                for part in (confusion[label, label], confusion[label].sum(), confusion[:, label].sum())
            )
            row += [str(of_class), _share(right, of_class), _share(right, called)]
    table = markdown_table(heads, rows)
    if len(names) <= MANY:
        return table
    return f"<details>\n<summary>{len(names):,} classes</summary>\n\n{table}\n</details>\n"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}" if whole else ""


def _data(facts: Facts) -> str:
    data = facts.results["dataset"]
    version = f", version {plain(str(data['version']))}" if data.get("version") else ""
    lines = [
        f"Data: {plain(_data_name(facts))}{version}. {counted(data['train_examples'], 'training image')}, "
        f"{counted(data['test_examples'], 'test image')} that were not trained on. Pixels are normalised by "
        f"`(pixels / 255 - mean) / std` with mean {data['mean']} and std {data['std']}, a number a channel."
    ]
    if augmentations := facts.config.augmentations(data.get("augmentation", ())):
        lines.append(f"Augmentation: {', '.join(map(plain, augmentations))}.")
    epochs = [f"{stage.title} {counted(stage.epochs, 'epoch')}" for stage in facts.progress if stage.epochs]
    if epochs:
        when = f", until {date(facts.trained)}" if facts.trained else ""
        lines.append(f"Training: {', '.join(epochs)}, seed {facts.config.seed}{when}.")
    return "\n\n".join(lines) + "\n"


def _measured(facts: Facts) -> str:
    heads = ["file", "for", "size", "gzip", "test error", "one image, ms"]
    rows = [
        [
            f"`{found['path'].removeprefix('model/')}`",
            facts.purposes.get(name, ""),
            size(found["bytes"]),
            size(found["gzip_bytes"]),
            percent(found["test_error"]),
            f"{1e3 * found['seconds']['batch_1']:.2f}" if "seconds" in found else "",
        ]
        for name, found in facts.results["artifacts"].items()
    ]
    count = facts.results["dataset"]["test_examples"]
    return (
        f"On the {counted(count, 'test image')}, so that one is {100 / count:.2f} points; each file in its own "
        f"runtime, times on the machine of the run.\n\n{markdown_table(heads, rows)}"
    )


def _loading(facts: Facts) -> str:
    parts = [loading(facts.results)]
    for name, command in facts.shown_by.items():
        if name in facts.results["artifacts"]:
            path = facts.results["artifacts"][name]["path"].removeprefix("model/")
            shown = fenced(command.format(path=shlex.quote(path)), "sh")
            parts.append(f"To look at {facts.purposes[name]}:\n\n{shown}")
    return "\n".join(parts)


def _limits(facts: Facts) -> str:
    one = facts.results["dataset"]["test_examples"]
    return (
        f"- Every picture gets one of these {len(facts.class_names):,} classes, also one that shows none of them.\n"
        f"- It was tested on {counted(one, 'image')} of the same data. Nothing is known of pictures of another kind, "
        "and nothing was measured of fairness or attacks.\n"
        "- Times are of one machine. On others, and on phones, they are different.\n"
        "- No licence was chosen: who publishes this adds `license:` to the front matter, as the data allow.\n"
    )


def _paper(facts: Facts) -> str:
    return fenced(PAPER, "bibtex")


SECTIONS = {
    "Classes": _classes,
    "Data and training": _data,
    "Measured": _measured,
    "Loading": _loading,
    "Limits": _limits,
    "The method": _paper,
}
