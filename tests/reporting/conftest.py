"""Facts of runs that never were, and a parser that knows what a page must not do; nothing here loads TensorFlow."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hmnas_tf.config import Config
from hmnas_tf.reporting.facts import Facts, Progress
from hmnas_tf.reporting.judgement import Judgement
from hmnas_tf.space.genotype import CellGene, EdgeGene, Genotype, OperationGene
from hmnas_tf.space.topology import Topology

OPERATIONS = ("sep_conv_3x3", "max_pool_3x3", "identity")
HOSTILE = ("<script>alert(1)</script>", "$x$", "\"quoted\" & 'single'", "a\nb\x00", "猫")
STAGE = {"flops": 5000, "epochs": 2, "seconds": 3.21}
VOID = {"img", "link", "meta"}


class Page(HTMLParser):
    """A parsed page.

    Attributes:
        elements: name and attributes of each, in order.
        text: of each element name, pieces of text directly in it.
        unclosed: elements that were not ended where they should have been.
    """

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}
        self.unclosed: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.unclosed += self._open

    def handle_starttag(self, tag, attrs):
        assert len({name for name, _ in attrs}) == len(attrs), (tag, attrs)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self._open or self._open.pop() != tag:
            self.unclosed.append(tag)

    def handle_data(self, data):
        if self._open:
            self.text.setdefault(self._open[-1], []).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def words(self, tag: str) -> str:
        return "".join(self.text.get(tag, []))


@pytest.fixture(scope="session")
def parse() -> Callable[[str], Page]:
    """Parses a page and asserts what holds for each."""

    def parsed(text: str) -> Page:
        page = Page(text)
        assert text.startswith("<!DOCTYPE html>\n")
        assert page.unclosed == []
        assert page.all("html") == [{"lang": "en"}]
        assert len(page.all("h1")) == 1
        ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
        assert len(set(ids)) == len(ids)
        levels = [int(name[1]) for name, _ in page.elements if re.fullmatch("h[1-6]", name)]
        assert levels[0] == 1
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
        assert not {"script", "iframe", "object", "embed", "base"} & {name for name, _ in page.elements}
        for name, attributes in page.elements:
            assert not [key for key in attributes if key.startswith("on")], (name, attributes)
            for key in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
                value = attributes.get(key) or ""
                assert not re.match(r"\s*(\w+:)?//|\s*javascript:", value), (name, value[:80])
                if value.startswith("#"):
                    assert value[1:] in ids, value
            for key in ("aria-labelledby", "aria-describedby"):
                assert set((attributes.get(key) or "").split()) <= set(ids)
        assert all(image["alt"] for image in page.all("img"))
        assert all(cell["scope"] in ("row", "col") for cell in page.all("th"))
        assert len(page.all("caption")) == len(page.all("table"))
        assert "url(http" not in text
        assert "@import" not in text
        return page

    return parsed


def genotype(cells: int = 2) -> Genotype:
    topology = Topology(initial_channels=4, cells=cells, nodes=2, operations=OPERATIONS)
    genes = (OperationGene("sep_conv_3x3", 0.5, 0.75), OperationGene("identity", 0.25))
    cell = CellGene(((EdgeGene(0, 0.6, genes),), (EdgeGene(1, 0.4, genes[1:]), EdgeGene(2, 0.3, genes))))
    return Genotype(topology, (cell,) * cells)


def results(class_names: tuple[str, ...], stages: int, finished: bool) -> dict[str, Any]:
    found = {"supernet": (2.0, 1000), "searched": (4.0, 250), "finetuned": (1.5, 250)}
    entries = {
        key: STAGE | {"test_error": error, "params": params, "params_nonzero": params - 10}
        for key, (error, params) in list(found.items())[:stages]
    }
    artifact = {
        "path": "model/derived folded.keras",
        "bytes": 12345,
        "gzip_bytes": 2345,
        "test_error": 1.5,
        "seconds": {"batch_1": 0.00125, "batch_32": 0.01},
        "max_abs_difference": 2.5e-6,
    }
    dataset = {
        "name": "patterns",
        "train_examples": 96,
        "test_examples": 40,
        "image_shape": [6, 5, 3],
        "class_names": list(class_names),
        "mean": [0.5, 0.25, 0.125],
        "std": [0.25, 0.25, 0.25],
    }
    artifacts = {"keras_folded": artifact, "saved_model": artifact | {"path": "model/saved_model/1"}}
    about = {"versions": {"keras": "3.15.1"}, "machine": {"host": "here", "devices": ["CPU", "GPU"]}}
    budget = {"asked": 3000, "smallest": 120, "supernet": 9000}
    reached = {"reached": 2950, "parts": {"stem": 100, "cell 0": 850, "cell 1": 1900, "classifier": 100}}
    about["budgets"] = {"multiply_adds": budget | reached if stages > 1 else budget}
    return {"schema": 1, "stages": entries, "dataset": dataset, **about} | (
        {"artifacts": artifacts} if finished else {}
    )


def judgement(classes: int, channels: int = 3) -> Judgement:
    random = np.random.default_rng(0)
    labels = random.integers(0, classes, 40)
    logits = random.normal(size=(40, classes)) + 2 * np.eye(classes)[labels]
    images = random.integers(0, 256, (40, 6, 5, channels), np.uint8)
    return Judgement.of(images, labels, [logits[:30], logits[30:]], classes)


def row(stage: str, epoch: int, **more: str) -> dict[str, str]:
    return {
        "stage": stage,
        "epoch": str(epoch),
        "error": "20.5",
        "test_error": "10.25",
        "seconds": "1",
    } | more


ROWS = [
    row("supernet training", 1),
    row("supernet training", 2),
    row("mask search", 1, operations="30", edges="10", weight_density="0.75"),
    row("fine-tuning", 1),
]
GROUP = {
    "operation_importance": [[0.5, 0.3, 0.2]] * 5,
    "edge_importance": [0.2] * 5,
    "gates": [[1, 0, 1]] * 5,
}
HISTORY = [
    {"stage": stage, "epoch": epoch, "groups": [GROUP | {"cells": [0]}, GROUP | {"cells": [1]}]}
    for stage, epoch in (("supernet training", 1), ("supernet training", 2), ("mask search", 1))
]


SIZE = {"network": "parameters_500", "params": "490", "flops": "20000", "milliseconds": "0.25", "epochs": "9"}
SIZES = [
    SIZE | {"kind": kind, "test_error": error, "supernet_seconds": "40.0", "seconds": "60.0"}
    for kind, error in (("masks", "12.0"), ("random", "14.5"))
]


@pytest.fixture(scope="session")
def make_facts() -> Callable[..., Facts]:
    """Returns the facts of a run: finished, or `stages` stages far."""

    def make(
        class_names: tuple[str, ...] = HOSTILE, stages: int = 3, finished: bool = True, **changes: Any
    ) -> Facts:
        keys = {"supernet": "supernet training", "searched": "mask search", "finetuned": "fine-tuning"}
        facts = Facts(
            workdir=Path("runs/mine"),
            config=Config(dataset="folder:my <pictures>", seed=7),
            results=results(class_names, stages, finished),
            progress=[
                Progress(key, title, 2 if number < stages else 1, 2, number < stages)
                for number, (key, title) in enumerate(keys.items())
            ],
            rows=ROWS if stages else [],
            history=HISTORY if stages else [],
            topology=genotype().topology,
            genotype=genotype() if stages > 1 else None,
            purposes={"keras_folded": "Keras, to use it", "web": "a page in a browser"},
            shown_by={"web": "python -m http.server --directory {path}"},
            files=["genotype.json"],
            sizes=SIZES if finished else [],
            judgement=judgement(len(class_names)) if finished else None,
            unjudged="",
            written=datetime(2026, 11, 5, 9, 3, tzinfo=UTC),
            trained=datetime(2026, 11, 4, tzinfo=UTC) if stages else None,
        )
        return dataclasses.replace(facts, **changes)

    return make
