"""The table of recipes: what each changes, and differences seed by seed."""

from __future__ import annotations

import dataclasses

from paired_searches import searches
from recipes_table import PLAIN, RECIPES, flags_of, table

from hmnas_tf import algorithm, command_line
from hmnas_tf.config import Config
from hmnas_tf.data import AUGMENTATIONS
from hmnas_tf.data.folder_source import load_folder
from hmnas_tf.runs.choices import check_names


def test_a_recipe_is_the_plain_one_with_one_change():
    for name, changes in RECIPES.items():
        check_names(dataclasses.replace(Config(), **changes))
        assert len(changes) == (name != "plain"), name
    tried = {"none"} ^ {name for own in RECIPES.values() for name in own.get("augmentation", ())}
    assert {*AUGMENTATIONS} - tried == {"color_jitter", "random_resized_crop"}  # of ImageNet's recipe
    assert flags_of({"label_smoothing": 0.1, "augmentation": ("a", "b")}) == (
        "`--label_smoothing=0.1` `--augmentation=a,b`"
    )


def test_plain_is_what_a_folder_has_by_default(tmp_path):
    from PIL import Image

    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(2):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / name / f"{number}.png")
    assert load_folder(str(tmp_path)).augmentation == PLAIN


def test_differences_are_taken_seed_by_seed_and_the_best_stands_first():
    rows = [(name, seed, 40.0 + 10 * seed) for seed in range(2) for name in RECIPES if name != "mixup"]
    rows += [("mixup", 0, 39.0), ("mixup", 1, 47.0)]
    found = table(rows)
    assert found[0] == {
        "recipe": "mixup",
        "flags": "`--augmentation=crop,flip,cutout,mixup`",
        "seeds": 2,
        "error on images held out %": "43.00 ± 4.00",
        "difference to plain": "-2.00 ± 1.00",
    }
    (plain,) = [row for row in found if row["recipe"] == "plain"]
    assert (plain["flags"], plain["difference to plain"]) == ("", "")
    assert len(found) == len(RECIPES)


def test_all_variants_of_a_seed_come_before_the_next_one(monkeypatch, tmp_path):
    made = []

    class Result:
        results = "facts"

    def search(dataset, config, place, say):
        made.append((dataset, config.seed, config.label_smoothing, place.name))
        return Result

    monkeypatch.setattr(algorithm, "search", search)
    monkeypatch.setattr(command_line, "given", lambda config: config.dataset)
    variants = {"a": {}, "b": {"label_smoothing": 0.2}}
    found = list(searches(Config(seed=3), tmp_path, 2, variants, lambda seed: f"folder:{seed}"))
    assert found == [(name, seed, "facts") for seed in (3, 4) for name in "ab"]
    assert made == [
        (f"folder:{seed}", seed, smoothing, f"{name}_{seed}")
        for seed in (3, 4)
        for name, smoothing in (("a", 0.0), ("b", 0.2))
    ]
