"""How the settings make the stage of fine-tuning, and what is kept of it."""

from __future__ import annotations

from pathlib import Path

import keras

from hmnas_tf.exporters import artifacts
from hmnas_tf.runs.construction import regularization
from hmnas_tf.runs.run import Run, precision
from hmnas_tf.runs.teaching import load_teacher
from hmnas_tf.space.genotype import Genotype
from hmnas_tf.stages import learning_rates
from hmnas_tf.stages.distillation import Teacher
from hmnas_tf.stages.evaluation import Meter
from hmnas_tf.stages.fine_tuning import FineTuning
from hmnas_tf.stages.optimizers import SGD


def fine_tuning(
    run: Run, genotype: Genotype | None, network: keras.Model, meter: Meter, steps_per_epoch: int
) -> FineTuning:
    """Returns the stage that trains a network further; drop path needs its genotype, `meter` measures it."""
    config = run.config
    teacher = teacher_of(run, meter)
    with run.strategy.scope():
        return FineTuning(
            network,
            optimizer=SGD(learning_rates.finetune_schedule(config, steps_per_epoch), config.weight_momentum),
            weight_decay=config.weight_decay,
            gradient_clip=config.gradient_clip,
            regularization=regularization(run, genotype, network, steps_per_epoch),
            teacher=teacher,
            weight_average=config.weight_average,
            best=config.keep == "best",
            patience=config.patience,
        )


def teacher_of(run: Run, meter: Meter) -> Teacher | None:
    """Returns the teacher that the settings name, None if they name none; says how good it is, once in a run.

    Args:
        run: whose fine-tuning is about to begin, or goes on.
        meter: of the student.

    Raises:
        ValueError: if it is another file than when the run began.
    """
    path = run.config.teacher
    if not path:
        return None
    digest, known = artifacts.digest(Path(path)), run.folder.results.get("teacher")
    if known and known["sha256"] != digest:
        raise ValueError(
            f"teacher={path!r} is not the file that this run began with, its SHA-256 differs: restore it, or take "
            "another --workdir."
        )
    run.say("building the teacher")
    with run.strategy.scope(), precision("float32"):
        network = load_teacher(path, run.dataset)
    if not known:
        error, student = run.meter(network).test_error(), meter.test_error()
        run.folder.update(teacher={"path": path, "sha256": digest, "test_error": error, "student": student})
        run.say(f"teacher: {error:.2f} % error on the test images, the student begins with {student:.2f} %")
        if error > student:
            run.warn(
                [
                    f"the teacher is worse ({error:.2f} % error) than the student already is ({student:.2f} %): it "
                    "teaches its mistakes. Take a better one, or leave --teacher out."
                ]
            )
    return Teacher(network)


def settle(run: Run, stage: FineTuning, meter: Meter, epochs: int) -> dict[str, int]:
    """Gives the network what is kept of a stage that was trained for so many epochs.

    The batch statistics of the last epoch are estimated anew. Those of the best epoch stay as they were when it was
    measured: it was chosen with them.

    Returns:
        `epochs`, and with `--keep=best` the number of the `best_epoch`, from 1.
    """
    stage.finish()
    if not stage.best:
        meter.estimate_statistics()
        return {"epochs": epochs}
    if stage.best.has_ended:
        run.say(
            f"fine-tuning: ended after epoch {epochs} of {run.config.finetune_epochs}, none of the last "
            f"{run.config.patience} was better"
        )
    run.say(
        f"fine-tuning: epoch {stage.best.epoch} is kept, with {stage.best.error:.2f} % error on the images held out"
    )
    return {"epochs": epochs, "best_epoch": stage.best.epoch}
