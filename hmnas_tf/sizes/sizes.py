"""Networks of several sizes from the supernet of one run (DECISION; the paper has one network)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hmnas_tf.ablation.ablation import VARIANTS, config_of, shares_supernet
from hmnas_tf.ablation.ablation_table import WHOLE_METHOD, csv_text
from hmnas_tf.ablation.by_hand import bounds_of, check_rival, train_by_hand
from hmnas_tf.algorithm import search
from hmnas_tf.config import Config
from hmnas_tf.console.names import require_known
from hmnas_tf.console.progress import Say, silent
from hmnas_tf.data import ImageDataset
from hmnas_tf.exporters.timing import artifact_for, time_file
from hmnas_tf.networks.handmade import HAND_MADE
from hmnas_tf.reporting.sizes import FOLDER, MASKS, TABLE, worth
from hmnas_tf.runs.adoption import adopt
from hmnas_tf.runs.latency import record_milliseconds
from hmnas_tf.runs.tracking import begin_part, log_folder, tracked
from hmnas_tf.runs.widths import SIZES
from hmnas_tf.sizes.sizes_table import FIELDS, draw, markdown
from hmnas_tf.stages.strategy import require_one_worker
from hmnas_tf.storage import atomic
from hmnas_tf.storage.possession import held
from hmnas_tf.storage.run_folder import RunFolder

RIVALS = {  # what each is called among `ablation.VARIANTS`
    "mobilenet": "mobilenet",
    "random": "random",
    "resnet8": "resnet8",
    "top2": "multi_level_top2",
}


def pareto(
    dataset: ImageDataset,
    config: Config,
    workdir: str | Path,
    networks: Mapping[str, Mapping[str, float]],
    *,
    rivals: Sequence[str] = (),
    say: Say = silent,
) -> list[dict[str, Any]]:
    """Searches masks and fine-tunes for each of several budgets, all from the supernet of one run.

    Each network is a run in the folder `pareto/NAME` of that run, and each of its rivals in `pareto/NAME_RIVAL`. Called
    again it goes on where it stopped; `pareto.csv`, `pareto.md` and `pareto.svg` are written after each network. The
    smallest is made first, so that a budget that cannot be met is told before any network is trained.

    Args:
        dataset: of the run.
        config: of the run, with other lengths of its last two stages if they are to have others; what it says of its
            size does not count.
        workdir: of the run, whose supernet is trained.
        networks: budgets of each by its name, see `budget_lists.networks`.
        rivals: names in `RIVALS`, each trained at the size of each network, with as many epochs in all.
        say: shows a line of progress.

    Returns:
        One record a network, as in `pareto.csv`.

    Raises:
        ValueError: if the run has no trained supernet, a setting does not fit, or the folder is in use.
        InfeasibleError: if a budget cannot be met, naming the least that can.
    """
    require_known("rivals", rivals, RIVALS)
    of_cells = [rival for rival in rivals if not VARIANTS[RIVALS[rival]].by_hand]
    if of_cells and not all(set(SIZES) & set(budgets) for budgets in networks.values()):
        raise ValueError(
            f"rivals={','.join(rivals)!r}: {of_cells[0]} is made as wide as parameters or multiply-adds allow: ask for "
            "one of them too, or leave it out."
        )
    require_one_worker()
    donor = _donor(Path(workdir), dataset)
    plain = {f"max_{cost}": 0 for cost in config.budgets}
    config = dataclasses.replace(config, **plain, operation_price=0.0)
    cells: dict[str, tuple[str, str, Config]] = {}
    for name, budgets in networks.items():
        own = dataclasses.replace(config, **{f"max_{cost}": value for cost, value in budgets.items()})
        for kind in (MASKS, *rivals):
            variant = VARIANTS[RIVALS.get(kind, WHOLE_METHOD)]
            folder = name if kind == MASKS else f"{name}_{kind}"
            cells[folder] = name, kind, config_of(own, variant, own.seed, 0, own.finetune_learning_rate)
    for name, _, setting in cells.values():  # before the first of them costs anything
        check_rival(setting, dataset, networks[name])
    records: list[dict[str, Any]] = []
    uri = config.mlflow
    with held(Path(workdir) / FOLDER) as root, tracked(Path(workdir), uri, say) as log:
        for number, (folder, (name, kind, setting)) in enumerate(cells.items(), 1):
            say(f"network {number} of {len(cells)}: {folder}")
            begin_part(root / folder, Path(workdir), uri, folder)
            if setting.genotype in HAND_MADE:
                (own,) = (r for r in records if (r["network"], r["kind"]) == (name, MASKS))
                bounds = bounds_of(networks[name], own)
                results = train_by_hand(dataset, setting, root / folder, bounds, say)
            else:
                shared = donor if shares_supernet(setting, config) else None
                results = _run(dataset, setting, root / folder, shared, say)
            records.append(_record(name, kind, networks[name], results))
            atomic.write_text(root / TABLE, csv_text(records, FIELDS))
            atomic.write_text(root / "pareto.md", markdown(records))
            draw(root / "pareto.svg", records)
            log()
    say(markdown(records))
    for line in worth(records, len(dataset.x_test)):
        say(line)
    return records


def _donor(workdir: Path, dataset: ImageDataset) -> RunFolder:
    """Returns the folder of a run whose supernet can be taken."""
    folder = RunFolder(workdir)
    folder.refuse_other_data(dataset.describe())
    if "supernet" not in folder.results["stages"]:
        raise ValueError(
            f"workdir {str(workdir)!r} has no trained supernet yet: run hmnas_tf.search with it, without a given "
            "genotype, until its first stage is done."
        )
    if not folder.state("supernet").exists():
        raise ValueError(
            f"{folder.state('supernet')} is missing, the weights of the supernet: restore it, or search again in "
            "another --workdir."
        )
    return folder


def _run(
    dataset: ImageDataset, config: Config, path: Path, donor: RunFolder | None, say: Say
) -> dict[str, Any]:
    """Runs a search with a supernet that is trained already; returns its results, with the milliseconds of its file."""
    folder = RunFolder(path, config, dataset.describe())
    if donor and config.searches and "supernet" not in folder.results["stages"]:
        adopt(folder, donor, "supernet")
    search(dataset, config, path, say=say)
    folder = RunFolder(path)
    artifact = folder.results["artifacts"].get(artifact_for(config.latency_runtime))
    if artifact and "measured_ms" not in folder.results.get("latency", {}):
        milliseconds = float(np.median(time_file(config.latency_runtime, path / artifact["path"])))
        record_milliseconds(folder, config.latency_runtime, milliseconds)
        log_folder(path, config.mlflow, say)
    return folder.results


def _record(name: str, kind: str, budgets: Mapping[str, float], results: Mapping[str, Any]) -> dict[str, Any]:
    stages = results["stages"]
    final = stages["finetuned"]
    return {
        "network": name,
        "kind": kind,
        **{f"max_{cost}": value for cost, value in budgets.items()},
        **{key: final[key] for key in ("test_error", "params", "flops")},
        "milliseconds": results.get("latency", {}).get("measured_ms", ""),
        "epochs": sum(stage["epochs"] for stage in stages.values()),
        "supernet_seconds": round(stages.get("supernet", {"seconds": 0.0})["seconds"], 1),
        "seconds": round(sum(stage["seconds"] for key, stage in stages.items() if key != "supernet"), 1),
    }
