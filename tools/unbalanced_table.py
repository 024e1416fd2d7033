"""Searches on an unbalanced folder with weights of classes and without, and compares them seed by seed.

python tools/unbalanced_table.py --workdir=runs/unbalanced

With --into=docs/own_data.md it writes docs/own_data_unbalanced.csv and the table of the page, which needs its marks.

For each seed a folder is made of 200 pullovers, 40 coats and 10 shirts of Fashion-MNIST, drawn at random, and of 300
test images of each. Both searches of a seed see the same pictures. The settings are those of flags/own_data.flags with
fewer cells, nodes and epochs; flags of `search` change them. It goes on where it was stopped.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags, logging
from measured_tables import INTO, ROOT, mean_with_error, publish, require_places, start
from paired_searches import SEEDS, searches
from PIL import Image

from hmnas_tf import command_line
from hmnas_tf.console.paths import path_of

FLAGS = flags.FLAGS
SETTINGS = (
    f"--flagfile={ROOT / 'flags' / 'own_data.flags'}",
    "--image_size=16",
    "--cells=1",
    "--nodes=2",
    "--supernet_epochs=15",
    "--warmup_epochs=5",
    "--mask_epochs=3",
    "--finetune_epochs=30",
    "--operation_price=0",
    "--evaluate_every=0",
    "--formats=keras",
)
TRAINED = {"pullover": (2, 200), "coat": (4, 40), "shirt": (6, 10)}  # label in Fashion-MNIST, and pictures
TESTED = 300  # pictures of each class
ENDING = ".gz"  # of the IDX files, as Debian has them
WEIGHTINGS = ("none", "balanced")


def make_folder(root: Path, idx_dir: Path, seed: int) -> Path:
    """Returns a folder of pictures that `seed` draws, made unless it is there."""
    from hmnas_tf.data.idx_files import read_idx

    if root.exists():
        return root
    random, half_made = np.random.default_rng(seed), root.with_name(f".{root.name}")
    shutil.rmtree(half_made, ignore_errors=True)  # left by a kill
    for side, word in (("train", "train"), ("test", "t10k")):
        images = read_idx(idx_dir / f"{word}-images-idx3-ubyte{ENDING}")
        labels = read_idx(idx_dir / f"{word}-labels-idx1-ubyte{ENDING}")
        for name, (label, count) in TRAINED.items():
            folder = half_made / side / name
            folder.mkdir(parents=True)
            own = random.permutation(np.flatnonzero(labels == label))
            for index in own[: count if side == "train" else TESTED]:
                Image.fromarray(images[index]).save(folder / f"{index:05d}.png")
    return half_made.rename(root)


def searched(config: Any, workdir: Path, seeds: int) -> Iterator[dict[str, Any]]:
    """Yields what each search of each seed found, by the images of the test side."""

    def dataset(seed: int) -> str:
        return f"folder:{make_folder(workdir / f'pictures_{seed}', path_of(config.idx_dir), seed)}"

    variants = {weighting: {"class_weights": weighting} for weighting in WEIGHTINGS}
    for weighting, seed, results in searches(config, workdir, seeds, variants, dataset):
        final, names = results["stages"]["finetuned"], results["dataset"]["class_names"]
        yield {
            "class_weights": weighting,
            "seed": seed,
            "error": final["test_error"],
            "macro F1": final["scores"]["macro"]["f1"],
            **dict(zip(names, final["scores"]["recall"], strict=True)),
        }


def table(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns a row for each weighting, means over the seeds with standard errors, and one for the difference."""
    values = {
        weighting: {
            name: np.array([row[name] for row in rows if row["class_weights"] == weighting])
            for name in rows[0]
            if name not in ("class_weights", "seed")
        }
        for weighting in WEIGHTINGS
    }
    none, balanced = (values[weighting] for weighting in WEIGHTINGS)
    lines = {f"`{weighting}`": own for weighting, own in values.items()}
    lines["difference, seed by seed"] = {name: balanced[name] - none[name] for name in none}
    titles = {"error": "test error %", "macro F1": "macro F1 %"}
    return [
        {"class_weights": title, "seeds": len(own["error"])}
        | {
            titles.get(
                name, f"recall of {name} ({TRAINED.get(name, (0, 0))[1]} pictures) %"
            ): mean_with_error(numbers)
            for name, numbers in own.items()
        }
        for title, own in lines.items()
    ]


def main() -> None:
    """Searches and writes."""
    logging.set_verbosity(logging.WARNING)
    require_places(FLAGS.into, ["unbalanced"])
    config = command_line.settings()
    rows = list(searched(config, path_of(FLAGS.workdir, "workdir"), FLAGS.seeds))
    publish(FLAGS.into, {"unbalanced": table(rows)})


if __name__ == "__main__":
    command_line.define_flags()
    flags.DEFINE_string("into", None, INTO)
    flags.DEFINE_integer("seeds", 5, SEEDS, lower_bound=1)
    start("unbalanced_table", main, SETTINGS)
