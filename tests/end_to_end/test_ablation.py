"""The ablation's cells are runs; they share supernets and masks; it goes on where it stopped."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

import hmnas_tf
from hmnas_tf.ablation import ablation
from hmnas_tf.ablation.ablation import VARIANTS, ablate
from hmnas_tf.derivation.training_network import AUXILIARY_LEAST
from hmnas_tf.stages.architecture_history import read_history

pytestmark = pytest.mark.slow

CELLS = {name: variant for name, variant in VARIANTS.items() if not variant.by_hand}


@pytest.fixture(scope="module")
def config(make_config):
    return make_config(
        nodes=2, mask_epochs=1, finetune_epochs=1, evaluation_cells=2, initial_weights="random"
    )


@pytest.fixture(scope="module")
def finished(patterns, config, tmp_path_factory):
    """All variants with one seed: the records, what was said, and the folder."""
    workdir, lines = tmp_path_factory.mktemp("ablation"), []
    records = ablate(patterns, config, workdir, variants=list(VARIANTS), seeds=1, say=lines.append)
    return records, lines, workdir


def results(workdir: Path, variant: str) -> dict:
    return json.loads((workdir / variant / "seed0" / "results.json").read_text(encoding="utf-8"))


def test_every_variant_has_a_row_and_the_whole_method_its_stages(finished):
    records, lines, workdir = finished
    assert {record["variant"] for record in records} == {*VARIANTS, "stage_supernet", "stage_searched"}
    with (workdir / "ablation.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(records)
    table = (workdir / "ablation.md").read_text(encoding="utf-8")
    assert table in lines
    assert all(variant.title in table for variant in VARIANTS.values())
    assert (workdir / "ablation.svg").stat().st_size > 5000


def test_stages_are_trained_once_and_shared(finished):
    _, lines, workdir = finished
    assert sum("Stage 1 of 3" in line for line in lines) == 2  # with beta, and without
    assert sum("Stage 2 of 3" in line for line in lines) == 1
    own = results(workdir, "multi_level_masks")["stages"]
    assert results(workdir, "multi_level_top2")["stages"]["supernet"] == own["supernet"]
    assert results(workdir, "masks_random_weights")["stages"]["searched"] == own["searched"]
    assert results(workdir, "single_level_top2")["stages"]["supernet"] != own["supernet"]
    assert set(results(workdir, "random")["stages"]) == {"finetuned"}


def test_the_history_of_a_shared_stage_is_shared_too(finished):
    _, _, workdir = finished
    histories = {name: read_history(workdir / name / "seed0" / "architecture.jsonl") for name in VARIANTS}
    own = histories["multi_level_masks"]
    assert [line["stage"] for line in own] == ["supernet training"] * 3 + ["mask search"]
    assert histories["masks_random_weights"] == own
    assert histories["multi_level_top2"] == own[:3]
    assert histories["single_level_top2"] != own[:3]
    assert histories["random"] == []


def test_the_searched_architecture_is_the_same_with_random_weights(finished):
    _, _, workdir = finished
    texts = [
        (workdir / variant / "seed0" / "genotype.json").read_text(encoding="utf-8")
        for variant in ("multi_level_masks", "masks_random_weights")
    ]
    assert texts[0] == texts[1]
    masks, fresh = (
        results(workdir, name)["derived"] for name in ("multi_level_masks", "masks_random_weights")
    )
    assert masks["params_dense"] == fresh["params_dense"]
    assert fresh["params_nonzero"] == fresh["params_dense"]


def test_hand_ruled_and_random_networks_have_evaluation_size_and_equal_epochs(finished):
    records, _, workdir = finished
    cells = {
        variant: len(json.loads((workdir / variant / "seed0" / "genotype.json").read_text())["cells"])
        for variant in CELLS
    }
    assert cells == {name: 2 if variant.at_evaluation_scale else 1 for name, variant in CELLS.items()}
    epochs = {record["variant"]: record["epochs"] for record in records}
    # supernet 3; then mask search and fine-tuning 1 + 1, or 2 from scratch
    assert epochs["multi_level_masks"] == epochs["multi_level_top2"] == epochs["single_level_top2"] == 5
    assert epochs["masks_random_weights"] == 5
    for name in ("random", "resnet8", "mobilenet"):  # no supernet: all of them for the network
        assert epochs[name] == 5
    sizes = {record["variant"]: record["params"] for record in records}
    for name in ("resnet8", "mobilenet"):  # without a budget as large as what was found
        assert 0.7 * sizes["multi_level_masks"] < sizes[name] <= sizes["multi_level_masks"]


def test_with_a_budget_all_networks_have_its_size_and_hand_rules_still_read_alpha(
    patterns, make_config, tmp_path
):
    variants = ["multi_level_masks", "multi_level_top2", "random", "resnet8"]
    changes = dict(nodes=2, finetune_epochs=1, operation_price=0.0, formats=("keras",))
    alpha = dict(validation_fraction=0.0, operation_gradient="alone")
    config = make_config(max_parameters=1000, max_multiply_adds=90_000, **changes, **alpha)
    records = ablate(patterns, config, tmp_path, variants=variants, seeds=1)
    costs = {r["variant"]: (r["params"], r["flops"]) for r in records if not r["variant"].startswith("stage")}
    assert set(costs) == set(variants)
    for params, flops in costs.values():
        assert params <= 1000
        assert flops <= 90_000
        assert max(params / 1000, flops / 90_000) > 0.8  # a channel more is a sixth of so small a network
    trained = results(tmp_path, "multi_level_top2")["stages"]["supernet"]
    assert trained != results(tmp_path, "multi_level_masks")["stages"]["supernet"]
    entry = results(tmp_path, "random")["budgets"]["parameters"]
    assert entry["smallest"] < entry["reached"] == costs["random"][0]
    page = (tmp_path / "random" / "seed0" / "report.html").read_text(encoding="utf-8")
    assert "Asked and reached" in page


def test_a_finished_ablation_is_only_read_and_more_seeds_go_on(finished, patterns, config, monkeypatch):
    records, _, workdir = finished
    runs = []
    monkeypatch.setattr(ablation, "search", lambda *arguments, **_: runs.append(arguments[2]))
    again = ablate(patterns, config, workdir, variants=list(VARIANTS), seeds=1)
    assert (again, runs) == (records, [])


def test_it_goes_on_after_being_stopped(patterns, config, tmp_path, monkeypatch):
    variants = ["random"]  # has no supernet to train
    calls = []

    def stops(*arguments, **keywords):
        calls.append(arguments[2])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return hmnas_tf.search(*arguments, **keywords)

    monkeypatch.setattr(ablation, "search", stops)
    with pytest.raises(KeyboardInterrupt):
        ablate(patterns, config, tmp_path, variants=variants, seeds=2)
    kept = (tmp_path / "ablation.csv").read_text(encoding="utf-8").splitlines()
    assert len(kept) == 2
    records = ablate(patterns, config, tmp_path, variants=variants, seeds=2)
    assert len(calls) == 3
    assert len(records) == 2
    assert kept[1] in (tmp_path / "ablation.csv").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    ("variants", "changes", "words"),
    [
        (["masks"], {}, "expected different ones of multi_level_masks"),
        (["random", "random"], {}, "different"),
        ([], {}, "at least one"),
        (["random", "resnet8"], {}, "resnet8 is made as large as a budget or the searched network"),
        (["random"], {"finetune_batch_size": 500}, "finetune_batch_size=500"),
        (["random"], {"auxiliary_weight": 0.4}, f"{AUXILIARY_LEAST} pixels"),
    ],
)
def test_mistakes_are_found_before_anything_is_trained(
    variants, changes, words, patterns, make_config, tmp_path
):
    with pytest.raises(ValueError, match=words):
        ablate(patterns, make_config(**changes), tmp_path / "run", variants=variants, seeds=1)
    assert not (tmp_path / "run").exists()
