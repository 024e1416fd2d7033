"""Searches with budgets that are shares of the supernet; writes docs/budgets_shares.csv and its table.

python tools/budget_table.py --workdir=runs/budget_table --into=docs/budgets.md

The settings are the quickstart's with two nodes a cell and fewer epochs, on digits and on 10,000 images of
Fashion-MNIST; flags of `search` change them. All searches of a seed share one supernet. It goes on where
it was stopped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from absl import flags, logging
from measured_tables import INTO, ROOT, mean_with_error, publish, require_places, start
from paired_searches import SEEDS

from hmnas_tf import command_line
from hmnas_tf.console.paths import path_of

FLAGS = flags.FLAGS
SETTINGS = (
    f"--flagfile={ROOT / 'flags' / 'quickstart.flags'}",
    "--max_parameters=0",
    "--nodes=2",
    "--evaluate_every=0",
    "--formats=keras",
)
DATASETS: dict[
    str, dict[str, Any]
] = {  # and how many epochs its runs have: of a supernet, of masks, of fine-tuning
    "digits": dict(dataset="digits", supernet_epochs=6, mask_epochs=5, finetune_epochs=6),
    "fashion_mnist": dict(
        dataset="fashion_mnist",
        image_size=8,
        train_examples=10_000,
        batch_size=256,
        finetune_batch_size=256,
        supernet_epochs=3,
        mask_epochs=2,
        finetune_epochs=3,
    ),
}
COSTS = ("parameters", "multiply_adds")
SHARES = (50, 20, 10, 5)  # percent of the supernet's


def wholes(dataset: Any, config: Any, workdir: Path) -> dict[str, int]:
    """Returns what the supernet of some settings costs."""
    from hmnas_tf.networks.cost import Masks
    from hmnas_tf.networks.count import Count
    from hmnas_tf.runs.opening import opened

    asking = dataclasses.replace(config, **{f"max_{COSTS[0]}": 1})  # for the masks of channels
    with opened(dataset, asking, workdir, command_line.say) as run:
        supernet = run.new_supernet()
    return {name: round(float(Count(supernet, name)(Masks.of(supernet).exact()))) for name in COSTS}


def searched(name: str, config: Any, workdir: Path, seeds: int) -> Iterator[dict[str, Any]]:
    """Yields what each search of a data set asked for and reached."""
    from hmnas_tf.algorithm import search
    from hmnas_tf.runs.adoption import adopt
    from hmnas_tf.storage.run_folder import RunFolder

    dataset = command_line.given(config)
    whole = wholes(dataset, config, workdir / name / "supernet")
    for seed in range(config.seed, config.seed + seeds):
        donor = None
        for cost in COSTS:
            for share in SHARES:
                asked = whole[cost] * share // 100
                own = dataclasses.replace(config, seed=seed, **{f"max_{cost}": asked})
                folder = RunFolder(workdir / name / f"{cost}_{share}_seed{seed}", own, dataset.describe())
                if donor and "supernet" not in folder.results["stages"]:
                    adopt(folder, donor, "supernet")
                results = search(dataset, own, folder.path, command_line.say).results
                donor = RunFolder(folder.path)
                derived = results["derived"]
                yield {
                    "data": name,
                    "budget of": cost.replace("_", "-"),
                    "share": share,
                    "seed": seed,
                    "asked": asked,
                    "reached": derived["params_dense" if cost == "parameters" else "flops"],
                    "error": results["stages"]["finetuned"]["test_error"],
                }


def table(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns a row for each data set and budget: over the seeds how much is used, and the mean error."""
    groups: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["data"], row["budget of"], row["share"], row["asked"]), []).append(row)
    found = []
    for (data, of, share, asked), own in groups.items():
        used = [100 * row["reached"] / asked for row in own]
        errors = [row["error"] for row in own]
        found.append(
            {
                "data": data,
                "budget of": of,
                "share of the supernet %": share,
                "asked": asked,
                "reached": " ".join(f"{row['reached']:,}" for row in own),
                "used %": f"{min(used):.1f} to {max(used):.1f}",
                "test error %, mean ± s.e.": mean_with_error(errors),
            }
        )
    return found


def main() -> None:
    """Searches and writes."""
    logging.set_verbosity(logging.WARNING)
    require_places(FLAGS.into, ["shares"])
    config = command_line.settings()
    workdir = path_of(FLAGS.workdir, "workdir")
    rows: list[dict[str, Any]] = []
    for name, changes in DATASETS.items():
        rows += searched(name, dataclasses.replace(config, **changes), workdir, FLAGS.seeds)
    publish(FLAGS.into, {"shares": table(rows)})


if __name__ == "__main__":
    command_line.define_flags()
    flags.DEFINE_string("into", None, INTO)
    flags.DEFINE_integer("seeds", 3, SEEDS, lower_bound=1)
    start("budget_table", main, SETTINGS)
