"""The paper's ablations: what edge encoding, learned masks and inherited weights are worth (Tables 3, 5 and 6)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hmnas_tf.ablation.ablation_table import STAGE_ROWS, WHOLE_METHOD, csv_text, draw, markdown
from hmnas_tf.ablation.by_hand import bounds_of, check_rival, train_by_hand
from hmnas_tf.algorithm import search
from hmnas_tf.config import Config
from hmnas_tf.console.names import require_known
from hmnas_tf.console.paths import path_of
from hmnas_tf.data import ImageDataset
from hmnas_tf.runs.adoption import adopt
from hmnas_tf.runs.tracking import begin_part, tracked
from hmnas_tf.runs.widths import SIZES
from hmnas_tf.stages.strategy import require_one_worker
from hmnas_tf.storage import atomic
from hmnas_tf.storage.possession import held
from hmnas_tf.storage.run_folder import RunFolder, flag_lines


@dataclasses.dataclass(frozen=True)
class Variant:
    """A row of the ablation.

    Attributes:
        title: in words.
        changes: settings that make it what it is.
        at_evaluation_scale: whether it has DARTS' evaluation size, as the paper's hand-ruled and random networks have.
    """

    title: str
    changes: Mapping[str, Any]
    at_evaluation_scale: bool = False

    @property
    def by_hand(self) -> bool:
        """Whether its network has no genotype."""
        return "genotype" in self.changes

    @property
    def from_scratch(self) -> bool:
        """Whether its network starts from random weights."""
        return self.changes["initial_weights"] == "random"


def _variant(title: str, at_evaluation_scale: bool = False, **changes: Any) -> Variant:
    return Variant(title, MappingProxyType(changes), at_evaluation_scale)


VARIANTS = {  # in the order in which one can use what another has trained
    "multi_level_masks": _variant(
        "alpha and beta, learned masks (HM-NAS)", derivation="masks", initial_weights="inherited"
    ),
    "multi_level_top2": _variant(
        "alpha and beta, hand rule", True, derivation="top2", initial_weights="random"
    ),
    "single_level_top2": _variant(
        "alpha only, hand rule (DARTS)",
        True,
        edge_softmax="none",
        derivation="top2",
        initial_weights="random",
    ),
    "random": _variant("random architecture", True, derivation="random", initial_weights="random"),
    "masks_random_weights": _variant(
        "HM-NAS architecture, random weights", derivation="masks", initial_weights="random"
    ),
    "resnet8": _variant("ResNet-8, made by hand", genotype="resnet8", initial_weights="random"),
    "mobilenet": _variant(
        "inverted residuals, made by hand (MobileNetV2)", genotype="mobilenet", initial_weights="random"
    ),
}


# Settings in which rows differ that train a supernet.
OF_SUPERNET = ("seed", "edge_softmax", "validation_fraction", "operation_gradient")


def shares_supernet(one: Config, other: Config) -> bool:
    """Returns whether two rows train the same supernet."""
    return all(getattr(one, name) == getattr(other, name) for name in OF_SUPERNET)


def ablate(
    dataset: ImageDataset,
    config: Config,
    workdir: str | Path,
    *,
    variants: Sequence[str],
    seeds: int,
    scratch_epochs: int = 0,
    scratch_learning_rate: float = 0.025,
    say: Callable[[str], None] = lambda line: None,
) -> list[dict[str, Any]]:
    """Measures every variant with every seed and writes `ablation.md`, `ablation.csv` and `ablation.svg`.

    Each cell is a run of `search` in the folder `VARIANT/seedN`. Cells that need the same supernet, or the same masks,
    share them: the first of them trains it. Called again it goes on where it stopped; the tables are written after
    every cell. Where a budget is asked for, hand-ruled and random networks are made as wide as it allows. Hand rules
    read alpha: they have it trained as the paper does even where the masks go without (`validation_fraction=0`,
    `operation_gradient`). A budget of milliseconds is for learned masks only.

    Args:
        dataset: images and labels.
        config: what all variants have in common. Evaluation size is taken by hand-ruled and random networks only.
        workdir: folder of all runs.
        variants: names in `VARIANTS`.
        seeds: repetitions, from `config.seed` on.
        scratch_epochs: of networks from random weights; 0 is as many as fine-tuning has and the stages that they go
            without, so that every row has the same number of epochs, the supernet's included.
        scratch_learning_rate: their initial rate.
        say: shows a line of progress.

    Returns:
        One record a cell, as in `ablation.csv`.

    Raises:
        ValueError: if a variant is unknown or given twice, one made by hand has no size to have, a run's
            settings do not fit, or the folder is in use.
    """
    require_known("variants", variants, VARIANTS, different=True)
    require_one_worker()
    order = [name for name in VARIANTS if name in variants]
    by_hand = [name for name in order if VARIANTS[name].by_hand]
    if by_hand and WHOLE_METHOD not in order and not set(SIZES) & set(config.budgets):
        raise ValueError(
            f"variants={','.join(variants)!r}: {by_hand[0]} is made as large as a budget or the searched network: pass "
            f"--max_parameters, or add {WHOLE_METHOD}."
        )
    cells = [(config.seed + number, name) for number in range(seeds) for name in order]
    scratch = (scratch_epochs, scratch_learning_rate)
    configs = {(seed, name): config_of(config, VARIANTS[name], seed, *scratch) for seed, name in cells}
    for setting in configs.values():  # before the first of them costs anything
        check_rival(setting, dataset, config.budgets)
    workdir = path_of(workdir, "workdir")
    donors: dict[tuple, RunFolder] = {}
    records: list[dict[str, Any]] = []
    flags = [*flag_lines(config, workdir), f"--variants={','.join(order)}", f"--seeds={seeds}"]
    with held(workdir) as root, tracked(root, config.mlflow, say, flags) as log:
        for number, (seed, name) in enumerate(cells, 1):
            setting, path = configs[seed, name], root / name / f"seed{seed}"
            say(f"ablation {number} of {len(cells)}: {VARIANTS[name].title}, seed {seed}")
            begin_part(path, root, config.mlflow, f"{name}/seed{seed}")
            if VARIANTS[name].by_hand:
                own = (r for r in records if (r["variant"], r["seed"]) == (WHOLE_METHOD, seed))
                results = train_by_hand(dataset, setting, path, bounds_of(config.budgets, next(own, {})), say)
            else:
                results = _run(dataset, setting, path, donors, say)
            records += _records(name, seed, results)
            _write(root, records)
            log()
        drawing = draw(workdir / "ablation.svg", records, _titles())
    say(markdown(records, _titles()))
    say(f"written: {workdir / 'ablation.md'}, .csv, {drawing}")
    return records


def config_of(
    config: Config, variant: Variant, seed: int, scratch_epochs: int, scratch_learning_rate: float
) -> Config:
    """Returns the settings of one cell; see `ablate`."""
    changes = dict(variant.changes) | {"seed": seed}
    rule = changes.get("derivation", "")
    if variant.from_scratch:
        left = config.finetune_epochs
        left += 0 if rule == "masks" else config.mask_epochs
        left += 0 if rule in ("masks", "top2") else config.supernet_epochs
        changes["finetune_epochs"] = scratch_epochs or left
        changes["finetune_learning_rate"] = scratch_learning_rate
    if variant.by_hand:  # it has no cells whose paths could be dropped
        changes |= {f"max_{name}": 0 for name in config.budgets} | {"drop_path": 0.0, "auxiliary_weight": 0.0}
    if rule != "masks":  # only learned masks can keep milliseconds, only hand rules need alpha
        plain = {field.name: field.default for field in dataclasses.fields(Config)}
        changes |= {name: plain[name] for name in ("max_latency_ms", "operation_gradient")}
        changes["validation_fraction"] = config.validation_fraction or plain["validation_fraction"]
    if not variant.at_evaluation_scale:
        changes |= {"evaluation_cells": 0, "evaluation_channels": 0}
    return dataclasses.replace(config, **changes)


def _run(
    dataset: ImageDataset,
    config: Config,
    path: Path,
    donors: dict[tuple, RunFolder],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Runs a cell, with the stages that another cell has trained already, and offers its own to later ones."""
    folder = RunFolder(path, config, dataset.describe())
    shared = tuple(getattr(config, name) for name in OF_SUPERNET)
    stages = {"supernet": shared, "searched": (*shared, "masks")}
    offers = ["supernet"] * config.searches + ["searched"] * (config.derivation == "masks")
    if not folder.finished():
        for stage in offers:
            if stage not in folder.results["stages"] and stages[stage] in donors:
                adopt(folder, donors[stages[stage]], stage)
        search(dataset, config, path, say=say)
        folder = RunFolder(path)
    for stage in offers:
        donors.setdefault(stages[stage], folder)
    return folder.results


def _records(name: str, seed: int, results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the cell's record and, of the whole method, one for each stage before (Table 3)."""
    stages = results["stages"]
    whole = {
        "epochs": sum(stage["epochs"] for stage in stages.values()),
        "seconds": round(sum(stage["seconds"] for stage in stages.values()), 1),
    }
    keys = ("test_error", "params", "params_nonzero", "flops", "epochs", "seconds")
    records = [{"variant": name, "seed": seed} | {key: (stages["finetuned"] | whole)[key] for key in keys}]
    if name == WHOLE_METHOD:
        records += [
            {"variant": row, "seed": seed} | {key: stages[stage][key] for key in keys}
            for stage, row in STAGE_ROWS.items()
        ]
    return records


def _titles() -> dict[str, str]:
    return {name: variant.title for name, variant in VARIANTS.items()}


def _write(workdir: Path, records: Sequence[Mapping[str, Any]]) -> None:
    atomic.write_text(workdir / "ablation.csv", csv_text(records))
    atomic.write_text(workdir / "ablation.md", markdown(records, _titles()))
