"""Runs that could not be finished are refused before anything is trained, with the flag, the value and the remedy."""

from __future__ import annotations

import re

import numpy as np
import pytest

from hmnas_tf.config import Config
from hmnas_tf.data import ImageDataset
from hmnas_tf.runs import preflight
from hmnas_tf.runs.preflight import check, final_topology, given_genotype
from hmnas_tf.space.published import published

RANDOM = np.random.default_rng(0)


def images(size: int = 32, count: int = 200, classes: int = 5, channels: int = 1) -> ImageDataset:
    x = RANDOM.integers(0, 256, (count, size, size, channels)).astype(np.uint8)
    y = np.arange(count) % classes
    return ImageDataset("toy", "1", x, y, x, y, tuple("abcdefgh"[:classes]), ())


def config(**changes) -> Config:
    settings = dict(initial_channels=4, batch_size=16, finetune_batch_size=16, formats=("keras",))
    return Config(**(settings | changes))


GIVEN = dict(initial_weights="random", genotype="DARTS_V1")


@pytest.mark.parametrize(
    ("changes", "dataset", "words"),
    [
        (dict(batch_size=161), {}, "batch_size=161 is more than the 160 images"),
        (dict(batch_size=161, search_classes=2), {}, "batch_size=161 is more than the 64 images"),
        (dict(finetune_batch_size=201), {}, "finetune_batch_size=201 is more than the 200"),
        (dict(search_classes=6), {}, "cannot take 6 classes of 'toy', which has 5"),
        (dict(), dict(size=3), "images of 3 pixels are too small"),
        (
            dict(auxiliary_weight=0.4),
            dict(size=24),
            "auxiliary_weight: .* needs feature maps of 7 pixels, but has 6",
        ),
        (
            dict(GIVEN, genotype="DARTS_V3"),
            {},
            "genotype='DARTS_V3' is neither a file .* nor one of DARTS_V1",
        ),
        (dict(stem="vgg"), {}, "stem='vgg'"),
        (
            dict(max_memory_kb=53),
            {},
            "max_memory_kb=53 cannot be met: the first convolution .* needs 53.2 kB",
        ),
        (dict(formats=("web",)), dict(channels=2), "formats=web: expected images of 1 or 3 channels"),
        (dict(initial_weights="old"), {}, "initial_weights='old': 'old' is none of inherited, random"),
    ],
)
def test_what_cannot_work_is_refused(changes, dataset, words):
    with pytest.raises(ValueError, match=words):
        check(config(**changes), images(**dataset))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        dict(auxiliary_weight=0.4),
        dict(search_classes=2),
        GIVEN,
        dict(GIVEN, batch_size=1000),
        dict(max_memory_kb=54),
        dict(max_memory_kb=14, formats=("litert",), quantize=("int8",)),
    ],
    ids=str,
)
def test_what_can_work_is_let_through(changes):
    check(config(**changes), images())


def test_what_an_exporter_refuses_is_refused_before_training(monkeypatch):
    def refuse(dataset):
        raise ValueError("class_names: no")

    monkeypatch.setattr(preflight, "labelling_of", refuse)
    with pytest.raises(ValueError, match="class_names: no"):
        check(config(), images())


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", '{"schema": 99}', "\ufeff{}", "x" * 10, '{"schema": 1, "topology": {}}']
)
def test_a_file_that_is_no_genotype_is_refused(text, tmp_path):
    (tmp_path / "genotype.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="genotype"):
        given_genotype(config(**(GIVEN | {"genotype": str(tmp_path / "genotype.json")})))


def test_a_binary_file_is_no_genotype(tmp_path):
    (tmp_path / "genotype.json").write_bytes(bytes(range(256)))
    with pytest.raises(ValueError, match="neither a file that can be read"):
        given_genotype(config(**(GIVEN | {"genotype": str(tmp_path / "genotype.json")})))


def test_the_final_size_is_the_evaluation_size():
    assert (final_topology(config()).cells, final_topology(config()).initial_channels) == (3, 4)
    settings = config(**GIVEN, evaluation_cells=20, evaluation_channels=36)
    topology = final_topology(settings)
    assert (topology.cells, topology.initial_channels) == (20, 36)
    assert topology == published("DARTS_V1", initial_channels=36, cells=20).topology
    assert given_genotype(settings).resized(cells=20, initial_channels=36).topology == topology


def test_a_published_architecture_has_the_stem_and_is_halved_as_asked_for():
    topology = final_topology(config(**GIVEN, stem="narrow", reduce_in="preprocessing"))
    assert (topology.stem, topology.reduce_in) == ("narrow", "preprocessing")


def test_messages_have_one_line():
    for changes in (dict(GIVEN, genotype="a\nb"), dict(batch_size=10**6)):
        with pytest.raises(ValueError, match="=") as raised:
            check(config(**changes), images())
        assert not re.search(r"\n", str(raised.value).replace("a\\nb", ""))
