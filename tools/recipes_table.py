"""Trains one small network by several recipes, and compares their errors on images held out, seed by seed.

python tools/recipes_table.py --workdir=runs/recipes

It takes the pictures in cifar10/train/CLASS, of CIFAR-10 or with --dataset=folder:PATH of another set.
With --into=docs/own_data.md it writes docs/own_data_recipes.csv and the table of the page, which needs its marks.

A recipe is the plain one, that of flags/own_data.flags, with one change. Nothing is searched: each seed draws
images, an architecture of convolutions and its weights, alike for all recipes, and trains it as long as that
file fine-tunes. A fifth of the images drawn is trained on, the others are held out; test images are not looked at. It
goes on where it was stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags, logging
from measured_tables import INTO, ROOT, mean_with_error, publish, require_places, start
from paired_searches import SEEDS, searches, trained

from hmnas_tf import command_line
from hmnas_tf.console.paths import path_of

FLAGS = flags.FLAGS
SETTINGS = (
    f"--flagfile={ROOT / 'flags' / 'own_data.flags'}",
    "--dataset=folder:cifar10",
    "--image_size=16",
    "--train_examples=5000",
    "--test_examples=10",
    "--holdout=0.8",
    "--derivation=random",
    "--initial_weights=random",
    "--cells=2",
    "--nodes=2",
    "--operations=conv_3x3",
    "--evaluate_every=0",
    "--formats=keras",
)
PLAIN = ("crop", "flip", "cutout")  # what a folder has by default
RECIPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "no_cutout": {"augmentation": ("crop", "flip")},
    "no_augmentation": {"augmentation": ("none",)},
    "label_smoothing": {"label_smoothing": 0.1},
    "weight_average": {"weight_average": 0.99},
    "warm_up": {"finetune_warmup_epochs": 3},
    **{
        name: {"augmentation": (*PLAIN, name)}
        for name in ("rotate", "colour", "erase", "randaugment", "mixup", "cutmix")
    },
}


def flags_of(changes: Mapping[str, Any]) -> str:
    """Returns settings as they are typed."""
    texts = {name: ",".join(value) if isinstance(value, tuple) else value for name, value in changes.items()}
    return " ".join(f"`--{name}={text}`" for name, text in texts.items())


def table(rows: Sequence[tuple[str, int, float]]) -> list[dict[str, Any]]:
    """Returns a row for each recipe, the one with the lowest error first: mean errors, and differences seed by seed.

    Args:
        rows: recipe, seed and error in percent; seeds of all recipes in the same order.
    """
    errors = {name: np.array([error for other, _, error in rows if other == name]) for name in RECIPES}
    plain = errors["plain"]
    return [
        {
            "recipe": name.replace("_", " "),
            "flags": flags_of(RECIPES[name]),
            "seeds": len(own),
            "error on images held out %": mean_with_error(own),
            "difference to plain": mean_with_error(own - plain) if name != "plain" else "",
        }
        for name, own in sorted(errors.items(), key=lambda item: item[1].mean())
    ]


def errors(config: Any, workdir: Path, seeds: int) -> Iterator[tuple[str, int, float]]:
    """Yields recipe, seed and error on images held out, in percent."""
    for name, seed, results in searches(config, workdir, seeds, RECIPES, run=trained):
        yield name, seed, results["stages"]["finetuned"]["test_error"]


def main() -> None:
    """Trains and writes."""
    logging.set_verbosity(logging.WARNING)
    require_places(FLAGS.into, ["recipes"])
    rows = list(errors(command_line.settings(), path_of(FLAGS.workdir, "workdir"), FLAGS.seeds))
    publish(FLAGS.into, {"recipes": table(rows)})


if __name__ == "__main__":
    command_line.define_flags()
    flags.DEFINE_string("into", None, INTO)
    flags.DEFINE_integer("seeds", 3, SEEDS, lower_bound=1)
    start("recipes_table", main, SETTINGS)
