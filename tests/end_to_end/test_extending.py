"""docs/extending.md does what it says: its files are written, imported, and used by one search."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import keras
import numpy as np
import pytest
from forked import Command

import hmnas_tf
from hmnas_tf import algorithm
from hmnas_tf.data.sources import SOURCES
from hmnas_tf.derivation import rules
from hmnas_tf.exporters.formats import EXPORTERS, FORMATS
from hmnas_tf.layers.operations import OPERATIONS
from hmnas_tf.runs.choices import CHOICES, LISTS
from hmnas_tf.stages import update_schedules

pytestmark = pytest.mark.slow
DOCUMENT = Path(__file__).parents[2] / "docs" / "extending.md"
DICTIONARIES = (OPERATIONS, SOURCES, rules.RULES, update_schedules.UPDATE_SCHEDULES, EXPORTERS, FORMATS)


def files() -> dict[str, str]:
    """Returns the files of the document by name."""
    blocks = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(encoding="utf-8"), re.M | re.S)
    return {re.match(r"# (\w+)\.py\n", block)[1]: block for block in blocks}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Iterator[Path]:
    """The files of the document, imported; afterwards it is as if they had never been."""
    place = tmp_path_factory.mktemp("extending")
    for name, text in files().items():
        (place / f"{name}.py").write_text(text, encoding="utf-8")
    with ExitStack() as stack:
        for dictionary in (*DICTIONARIES, keras.saving.get_custom_objects()):
            stack.enter_context(mock.patch.dict(dictionary))
        stack.enter_context(mock.patch.object(sys, "path", [str(place), *sys.path]))
        for name in files():
            stack.callback(sys.modules.pop, name, None)
            if name != "my_search":
                importlib.import_module(name)
        yield place


@pytest.fixture(scope="module")
def finished(folder, make_config) -> hmnas_tf.SearchResult:
    dataset = hmnas_tf.load_dataset("stripes:2")
    config = make_config(
        dataset="stripes:2",
        augmentation=("auto",),
        operations=("conv_5x5", "sep_conv_7x7"),
        derivation="strongest",
        update_schedule="step",
        formats=("arrays",),
        nodes=2,
    )
    return hmnas_tf.search(dataset, config, folder / "run")


def test_every_kind_has_its_file_and_the_dictionaries_know_them(folder):
    assert set(files()) == {
        "my_operation",
        "my_dataset",
        "my_rule",
        "my_schedule",
        "my_exporter",
        "my_search",
    }
    assert "strongest" in CHOICES["derivation"]
    assert "step" in CHOICES["update_schedule"]
    assert {"conv_5x5", "sep_conv_7x7"} <= set(LISTS["operations"])
    assert "arrays" in LISTS["formats"]


def test_the_search_used_them_all(finished, folder):
    genes = [gene for cell in finished.genotype.cells for node in cell.nodes for gene in node]
    assert len(genes) == 2  # the rule keeps one edge into each of two nodes, with one operation
    assert {op.name for gene in genes for op in gene.operations} <= {"conv_5x5", "sep_conv_7x7"}
    assert finished.results["dataset"]["name"] == "stripes:2"
    assert finished.results["stages"]["searched"]["epochs"] == 0  # no mask search
    artifact = finished.results["artifacts"]["arrays"]
    assert artifact["relative_difference"] <= 1e-5
    with np.load(folder / "run" / artifact["path"]) as file:
        assert "across" in str(file["labelling"])
    table = update_schedules.decisions("step", final=0.0, steps=10, warmup_steps=0, seed=0)
    assert table.tolist() == [True] * 5 + [False] * 5


def test_the_operation_is_the_same_in_stock_layers(folder):
    from my_operation import Convolution

    images = np.random.default_rng(0).standard_normal((2, 8, 8, 4)).astype("float32")
    layer = Convolution(4, edges=3, strides=2)
    results = layer(images, np.array([0.5, 1.0, 2.0], "float32"))
    layer.convs[2].real_mask.assign(np.zeros((5, 5, 4, 4)))
    assert [mask.all() for (mask,) in map(layer.binary_masks, range(3))] == [True, True, False]
    image = keras.Input((8, 8, 4))
    network = keras.Model(image, layer.stock(image, "one", 1, weight=1.0))
    np.testing.assert_allclose(network(images), results[1], rtol=1e-4, atol=1e-6)


def test_mask_search_is_for_rules_that_read_masks(make_config):
    class Entered(Exception):
        pass

    def done(stage):
        raise Entered

    config = make_config(derivation="top2")
    run = SimpleNamespace(config=config, folder=SimpleNamespace(state=Path), done=done)
    assert algorithm.search_masks(run, None, None) == 0
    rules.READ_MASKS.add("top2")
    try:
        with pytest.raises(Entered):
            algorithm.search_masks(run, None, None)
    finally:
        rules.READ_MASKS.discard("top2")


def test_the_program_knows_the_additions(finished, folder):
    """On a finished run it has nothing to do, once it has understood the flags and found the images to be the same."""
    program = str(folder / "my_search.py")
    arguments = [f"--flagfile={folder / 'run' / 'run.flags'}", f"--workdir={folder / 'run'}"]
    command = Command(program, arguments, folder / "printed")
    assert command.wait() == 0, command.complained
    assert "holds a finished run" in command.shown
    helped = Command(program, ["--help"], folder / "helped")
    helped.wait()
    for name in ("conv_5x5", "strongest", "step", "arrays"):
        assert re.search(rf"\b{name}\b", helped.shown), helped.shown[-500:]
