"""The last step of a run: artifacts, the numbers of the derived network, the final table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from hmnas_tf.data.augmentation import normalise
from hmnas_tf.exporters.artifacts import export_all
from hmnas_tf.exporters.contract import Labelling
from hmnas_tf.results_table import stages_table
from hmnas_tf.run import Run
from hmnas_tf.run_folder import RunFolder
from hmnas_tf.space.genotype import Genotype


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        model: the fine-tuned derived network of stock Keras layers, float32; normalised images to logits. None if it
            was read from a finished run that did not export `keras`.
        genotype: its architecture.
        results: the content of `results.json`.
        workdir: the run folder.
    """

    model: keras.Model | None
    genotype: Genotype
    results: dict[str, Any]
    workdir: Path


def publish(run: Run, model: keras.Model) -> None:
    """Writes the network in all formats, each compared in its own runtime, closes the run and shows its results.

    Args:
        run: whose stages are finished.
        model: the fine-tuned derived network, float32.

    Raises:
        ParityError: if an artifact does not compute what the model computes; it is not published then.
    """
    data = run.dataset
    labelling = Labelling(data.class_names, data.mean, data.std, data.image_shape)
    run.say(f"export: {', '.join(run.config.formats)}, each compared on the {len(data.x_test):,} test images")
    artifacts = export_all(
        model,
        run.folder.model,
        run.config.formats,
        labelling,
        normalise(data.x_test, data.mean, data.std),
        data.y_test,
    )
    stages = run.folder.results["stages"]
    genotype = Genotype.loads(run.folder.genotype.read_text(encoding="utf-8"))
    final = stages["finetuned"]
    derived = {
        "params_dense": final["params"],
        "params_nonzero": final["params_nonzero"],
        "flops": final["flops"],
        **genotype.count(),
    }
    run.folder.update(derived=derived, artifacts=artifacts)
    run.say(stages_table(run.folder.results))
    for name, artifact in artifacts.items():
        run.say(
            f"{name:<12}{artifact['path']:<24}{artifact['bytes']:>12,} bytes  test error {artifact['test_error']:.2f} %"
        )


def reread(folder: RunFolder, say: Callable[[str], None]) -> SearchResult:
    """Returns the result of a finished run from its folder, which it does not change and needs no checkpoints of."""
    say(f"{folder.path} holds a finished run; nothing was changed.")
    say(stages_table(folder.results))
    model = None
    if "keras" in folder.results["artifacts"]:
        model = keras.models.load_model(folder.path / folder.results["artifacts"]["keras"]["path"])
    genotype = Genotype.loads(folder.genotype.read_text(encoding="utf-8"))
    return SearchResult(model, genotype, folder.results, folder.path)
