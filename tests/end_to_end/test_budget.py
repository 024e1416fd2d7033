"""A size that is asked for is kept, by the whole pipeline, also when it is killed; what cannot be kept is refused."""

from __future__ import annotations

import csv
import dataclasses

import keras
import pytest
from compare_runs import compare

import hmnas_tf
from hmnas_tf.space.genotype import Genotype

OPERATIONS = ("sep_conv_3x3", "max_pool_3x3", "identity")
ASKED = 700


class Killed(Exception):
    """Stands for a machine that goes down."""


@pytest.fixture(scope="module")
def config(make_config):
    return make_config(
        cells=2,
        operations=OPERATIONS,
        operation_price=0.0,
        mask_epochs=3,
        architecture_mask_crossing=0.1,
        max_parameters=ASKED,
        max_multiply_adds=20_000,
        validation_fraction=0.0,
        operation_gradient="alone",
        mask_weight_learning_rate=0.05,
    )


@pytest.fixture(scope="module")
def small(run, config, tmp_path_factory):
    return run(config, tmp_path_factory.mktemp("small") / "run")


@pytest.mark.slow
def test_the_network_has_the_size_that_was_asked_for(small):
    results = small.result.results
    budgets = results["budgets"]
    assert set(budgets) == {"parameters", "multiply_adds"}
    assert results["derived"]["params_dense"] == budgets["parameters"]["reached"] <= ASKED
    assert results["derived"]["flops"] == budgets["multiply_adds"]["reached"] <= 20_000
    for entry in budgets.values():
        assert entry["smallest"] <= entry["reached"] == sum(entry["parts"].values()) < entry["supernet"]
    assert max(entry["reached"] / entry["asked"] for entry in budgets.values()) > 0.9
    lines = [line for line in small.lines if line.startswith("budget: ")]
    assert "at most 700 parameters; the smallest network has" in lines[0]
    assert any("parameters of 700 asked for" in line for line in lines)


@pytest.mark.slow
def test_widths_are_written_and_built(small):
    genotype = Genotype.loads((small.workdir / "genotype.json").read_text(encoding="utf-8"))
    assert genotype.narrowed
    model = keras.saving.load_model(small.workdir / "model" / "derived.keras", compile=False)
    assert sum(weight.shape.num_elements() for weight in model.trainable_weights) <= ASKED
    report = (small.workdir / "report.html").read_text(encoding="utf-8")
    assert "Asked and reached" in report
    assert "700" in report


@pytest.mark.slow
def test_a_stem_that_lost_channels_is_trained_on_and_built_again(config, patterns, run, tmp_path):
    settings = dataclasses.replace(config, max_parameters=0, max_multiply_adds=4_000)
    found = run(settings, tmp_path / "run").result.results
    assert found["derived"]["flops"] <= 4_000
    genotype = Genotype.loads((tmp_path / "run" / "genotype.json").read_text(encoding="utf-8"))
    assert genotype.stems < genotype.topology.stem_channels
    model = keras.saving.load_model(tmp_path / "run" / "model" / "derived.keras", compile=False)
    assert (model.get_layer("stem_0_conv").filters,) == genotype.stems
    again = dataclasses.replace(
        config,
        max_parameters=0,
        max_multiply_adds=0,
        genotype=str(tmp_path / "run" / "genotype.json"),
        initial_weights="random",
    )
    assert run(again, tmp_path / "again").result.results["derived"]["flops"] == found["derived"]["flops"]


@pytest.mark.slow
def test_without_images_of_their_own_alpha_and_beta_stay_as_they_are(small):
    with (small.workdir / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["stage"] == "supernet training"]
    assert rows
    assert {float(row["architecture_steps"]) for row in rows} == {0.0}
    assert len({row["operation_entropy"] for row in rows}) == 1


@pytest.mark.slow
def test_metrics_have_cost_bound_and_multiplier(small):
    with (small.workdir / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["stage"] == "mask search"]
    bounds = [float(row["parameters_bound"]) for row in rows]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[-1] == ASKED
    assert all(float(row["parameters_multiplier"]) >= 0 for row in rows)
    assert float(rows[-1]["parameters_cost"]) < small.result.results["budgets"]["parameters"]["supernet"]


@pytest.mark.slow
def test_killed_in_mask_search_and_before_the_projection_it_ends_the_same(small, config, patterns, tmp_path):
    for border in ("mask search       epoch   2/3", "budget: ", "batch statistics", "derivation: cell 0"):

        def say(line: str, border: str = border) -> None:
            if line.startswith(border) and not line.startswith("budget: at most"):
                raise Killed

        with pytest.raises(Killed):
            hmnas_tf.search(patterns, config, tmp_path / "run", say=say)
    hmnas_tf.search(patterns, config, tmp_path / "run")
    differing, compared = compare(tmp_path / "run", small.workdir)
    assert not differing
    assert "3 stages" in compared


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            dict(max_parameters=10),
            r"max_parameters=10 cannot be met: the smallest network of this search has \d+",
        ),
        (dict(max_parameters=400, max_multiply_adds=1000), "cannot be met"),
    ],
)
def test_what_no_network_keeps_is_refused_before_anything_is_trained(
    changes, message, config, patterns, tmp_path
):
    lines: list[str] = []
    with pytest.raises(ValueError, match=message):
        hmnas_tf.search(patterns, dataclasses.replace(config, **changes), tmp_path / "run", say=lines.append)
    assert not [line for line in lines if "epoch" in line]
    assert [path.name for path in (tmp_path / "run").iterdir()] == [
        ".lock"
    ]  # another budget may be asked for there


@pytest.mark.slow
def test_more_than_the_supernet_is_told_before_it_is_trained(config, patterns, tmp_path):
    settings, lines = dataclasses.replace(config, max_parameters=10**9, max_multiply_adds=0), []

    def say(line: str) -> None:
        lines.append(line)
        if line.startswith("Stage 1 of 3"):
            raise Killed

    with pytest.raises(Killed):
        hmnas_tf.search(patterns, settings, tmp_path / "run", say=say)
    assert [line for line in lines if line.startswith("Warning: max_parameters=1000000000 is no less than")]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(operation_price=0.1), "max_parameters=700 and operation_price=0.1 contradict each other"),
        (dict(derivation="top2"), "derivation='top2' contradict"),
        (
            dict(derivation="top2", initial_weights="random", max_latency_ms=1.0, formats=("keras", "onnx")),
            "max_latency_ms=1.0 and derivation='top2' contradict",
        ),
        (
            dict(derivation="random", initial_weights="random", evaluation_channels=8),
            "evaluation_channels=8 contradict",
        ),
        (dict(partial_channels=2), "partial_channels=2 contradict"),
        (dict(genotype="DARTS_V2", initial_weights="random"), "genotype='DARTS_V2' contradict"),
        (dict(evaluation_channels=8, initial_weights="random"), "evaluation_channels=8 contradict"),
        (dict(max_parameters=-1), "max_parameters=-1 is out of range"),
    ],
)
def test_contradictions_are_refused(changes, message, make_config):
    with pytest.raises(ValueError, match=message):
        make_config(**dict(operation_price=0.0, max_parameters=700) | changes)
