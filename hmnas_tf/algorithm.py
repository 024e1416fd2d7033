"""Algorithm 1 of the paper, from images to a deployable network; read it beside the paper."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from hmnas_tf.config import Config
from hmnas_tf.console.paths import path_of
from hmnas_tf.console.progress import Say, counted, silent
from hmnas_tf.data import ImageDataset, Pair, split_indices
from hmnas_tf.derivation.fast_network import fast_network
from hmnas_tf.derivation.rules import READ_MASKS
from hmnas_tf.networks import counting
from hmnas_tf.networks.supernet import Supernet
from hmnas_tf.runs.budgeting import budgets_of, keep_budgets, pressure_of, withdrawn
from hmnas_tf.runs.construction import architecture, initial_network, measure_searched
from hmnas_tf.runs.finetuning import fine_tuning, settle
from hmnas_tf.runs.keras_defaults import own_defaults
from hmnas_tf.runs.memory import require_memory
from hmnas_tf.runs.opening import opened
from hmnas_tf.runs.preflight import check, named
from hmnas_tf.runs.processor import known_crashes
from hmnas_tf.runs.publication import SearchResult, publish, reread
from hmnas_tf.runs.run import TITLES, Run, precision
from hmnas_tf.runs.run_report import report
from hmnas_tf.space.genotype import Genotype
from hmnas_tf.stages import alarms, learning_rates
from hmnas_tf.stages.architecture_telemetry import Importances, Survivors
from hmnas_tf.stages.budgets import Budget
from hmnas_tf.stages.evaluation import Meter
from hmnas_tf.stages.mask_search import MaskSearch
from hmnas_tf.stages.onlookers import Callbacks, by_stage
from hmnas_tf.stages.optimizers import SGD, Adam
from hmnas_tf.stages.shrinking import Shrinking
from hmnas_tf.stages.strategy import worker
from hmnas_tf.stages.supernet_training import SupernetTraining
from hmnas_tf.stages.update_schedules import decisions
from hmnas_tf.storage.variables_file import load_variables, save_variables


def search(
    dataset: ImageDataset | Pair,
    config: Config,
    workdir: str | Path,
    say: Say = silent,
    callbacks: Callbacks = (),
) -> SearchResult:
    """Searches, cuts, fine-tunes, evaluates and exports a network for a dataset (Algorithm 1).

    Called again with the same arguments it continues where it stopped, stage by stage and step by step; on a finished
    run it only reads. Where TF_CONFIG names several workers, each of them calls it; only the chief publishes.

    Args:
        dataset: of `load_dataset`, or arrays or a pair of `tf.data.Dataset`, see `dataset_from`.
        config: all settings.
        workdir: run folder.
        say: shows a line of progress to the user.
        callbacks: of Keras, for `supernet`, `searched` and `finetuned`, the stages: a list by the name of each, or one
            for all of them. What makes a callback, as its class does, may stand for it. See `stages.onlookers`.

    Raises:
        ValueError: if the settings do not fit the data or each other, or the folder is another run's or in use.
        ImportError: if a format to export, or MLflow, needs a package that is not installed.
        OSError: if the folder cannot be written.
        DivergedError: if a loss becomes infinite or not a number.
    """
    shown_to = by_stage(callbacks, TITLES)
    dataset, config = named(dataset, config, say)
    check(config, dataset)
    with own_defaults(), opened(dataset, config, workdir, say, shown_to) as run, withdrawn(run):
        result = reread(run.folder, run.say) if run.folder.finished() else run_stages(run)
    return dataclasses.replace(result, workdir=path_of(workdir))


def run_stages(run: Run) -> SearchResult:
    """Does what is left to do of a run; the chief of several workers publishes its result."""
    run.warn(known_crashes(run.config, run.dataset.image_shape))
    supernet = search_architecture(run) if run.config.searches else None
    genotype = architecture(run, supernet)
    with run.building("the derived network, to be fine-tuned"):
        network = initial_network(run, genotype, supernet)
    require_memory(run, lambda: initial_network(run, genotype, supernet))
    fine_tune(run, genotype, network)  # line 12
    with precision("float32"):
        model = initial_network(run, genotype, supernet)
    model.set_weights(network.get_weights())
    if not worker():
        report(run, publish(run, model))
    return SearchResult(model, genotype, run.folder.results, run.folder.path)


def search_architecture(run: Run) -> Supernet:
    """Stages 1 and 2 and what they leave, on the classes that are searched on; returns the masked supernet."""
    config = run.config
    final = run.dataset
    run = dataclasses.replace(run, dataset=final.of_random_classes(config.search_classes, config.seed))
    if config.search_classes:
        run.folder.update(search_classes=list(run.dataset.class_names))
    keras.utils.set_random_seed(config.seed)
    supernet = run.new_supernet()
    budgets = budgets_of(run, supernet, final.num_classes)
    meter = run.meter(supernet)
    train_supernet(run, supernet, meter)  # lines 1 to 5
    epochs = search_masks(run, supernet, meter, budgets)  # lines 6 to 10
    measure_searched(run, supernet, epochs)  # line 11
    return supernet


def train_supernet(run: Run, supernet: Supernet, meter: Meter) -> None:
    """Stage 1: weights and architecture parameters on two parts of the training set (§3.2)."""
    config, state = run.config, run.folder.state("supernet")
    if run.done("supernet"):
        load_variables(state, supernet.without_width_masks)
        return
    of_weights, of_architecture = split_indices(
        len(run.dataset.x_train), config.validation_fraction, run.seed("split")
    )
    steps = len(of_weights) // config.batch_size
    total = steps * config.supernet_epochs
    warmup = config.warmup_epochs if len(of_architecture) else config.supernet_epochs
    table = decisions(
        config.update_schedule,
        final=config.update_probability_final,
        steps=total,
        warmup_steps=steps * warmup,
        seed=run.seed("decisions"),
    )
    run.say(
        f"Stage 1 of 3, supernet training: {counted(config.supernet_epochs, 'epoch')} of {counted(steps, 'step')}; "
        f"{counting.parameters(supernet.network_weights):,} weights, {counted(int(table.sum()), 'step')} for "
        f"{counting.parameters(supernet.architecture_parameters)} architecture parameters"
    )
    with run.strategy.scope():
        stage = SupernetTraining(
            supernet,
            weight_optimizer=SGD(
                learning_rates.cosine(config.weight_learning_rate, total), momentum=config.weight_momentum
            ),
            architecture_optimizer=Adam(
                config.architecture_learning_rate,
                beta_1=config.architecture_beta_1,
                beta_2=config.architecture_beta_2,
            ),
            decisions=table,
            weight_decay=config.weight_decay,
            gradient_clip=config.gradient_clip,
            architecture_decay=config.architecture_decay,
            architecture_gradient=config.architecture_gradient,
            operation_gradient=config.operation_gradient,
        )
    training = run.batches("supernet training", config.batch_size, of_weights, mixed=True)
    validation = training  # unused
    if len(of_architecture):
        batch_size = run.largest_batch(len(of_architecture))
        validation = run.batches("architecture training", batch_size, of_architecture)
    epochs = run.fit(
        "supernet",
        stage,
        lambda start: tf.data.Dataset.zip(training(start, total), validation(start, total)),
        epochs=config.supernet_epochs,
        steps_per_epoch=steps,
        meter=meter,
        observers=[Importances(supernet, warmup_epochs=warmup, warn=run.warn)],
        searched=supernet,
    )
    meter.estimate_statistics()
    save_variables(state, supernet.without_width_masks)
    params = counting.parameters(supernet.network_weights)
    flops = counting.supernet_multiply_adds(supernet)
    run.record("supernet", epochs, **meter.results(), params=params, params_nonzero=params, flops=flops)


def search_masks(run: Run, supernet: Supernet, meter: Meter, budgets: Sequence[Budget] = ()) -> int:
    """Stage 2: the masks of operations, edges and weights (§3.3), within budgets; returns its epochs."""
    config, state = run.config, run.folder.state("searched")
    if config.derivation not in READ_MASKS:
        return 0
    if run.done("searched"):
        load_variables(state, supernet.variables)
        return run.folder.results["stages"]["searched"]["epochs"]
    steps = len(run.dataset.x_train) // config.batch_size
    total = steps * config.mask_epochs
    rates = learning_rates.mask_schedules(config, total)
    rate = config.mask_weight_learning_rate
    with run.strategy.scope():
        stage = MaskSearch(
            supernet,
            weight_mask_optimizer=Adam(rates["weight"]),
            architecture_mask_optimizer=Adam(rates["architecture"]),
            operation_price=config.operation_price,
            pressure=pressure_of(run, supernet, budgets, total),
            weight_optimizer=SGD(rate, momentum=config.weight_momentum) if rate else None,
            weight_decay=config.weight_decay,
            gradient_clip=config.gradient_clip,
            operation_gradient=config.operation_gradient,
        )
    run.say(
        f"Stage 2 of 3, mask search: {counted(config.mask_epochs, 'epoch')} of {counted(steps, 'step')}; "
        f"{counting.parameters(supernet.weight_masks):,} weight masks, "
        f"{counting.parameters(supernet.architecture_masks)} operation and edge masks"
    )
    run.warn(alarms.too_short_to_prune(config, total))
    shrinking = Shrinking(supernet, rates["architecture"], total, steps_per_epoch=steps, say=run.say)
    epochs = run.fit(
        "searched",
        stage,
        lambda start: run.batches("mask search", config.batch_size)(start, total),
        epochs=config.mask_epochs,
        steps_per_epoch=steps,
        meter=meter,
        observers=[Survivors(supernet, stage.pressure), shrinking],
        searched=supernet,
    )
    if config.budgets:
        keep_budgets(run, supernet, budgets)
    else:
        run.warn(alarms.nothing_pruned(supernet, config))
    meter.estimate_statistics()
    save_variables(state, supernet.variables)
    return epochs


def fine_tune(run: Run, genotype: Genotype | None, network: keras.Model) -> None:
    """Stage 3: a network's weights, from where they are (§3.4); drop path needs its genotype."""
    config, state = run.config, run.folder.state("finetuned")
    if run.done("finetuned"):
        load_variables(state, network.variables)
        return
    fast = fast_network(network)  # with the same variables
    meter = run.meter(fast)
    steps = len(run.dataset.x_train) // config.finetune_batch_size
    total = steps * config.finetune_epochs
    trained = {"epochs": 0}
    if total:
        size = counting.size_of(network)
        run.say(
            f"Stage 3 of 3, fine-tuning: {counted(config.finetune_epochs, 'epoch')} of {counted(steps, 'step')}; "
            f"{size['params']:,} weights, {size['params_nonzero']:,} of them not 0"
        )
        stage = fine_tuning(run, genotype, fast, meter, steps)
        batches = run.batches("fine-tuning", config.finetune_batch_size, mixed=True)
        epochs = run.fit(
            "finetuned",
            stage,
            lambda start: batches(start, total),
            epochs=config.finetune_epochs,
            steps_per_epoch=steps,
            meter=meter,
        )
        trained = settle(run, stage, meter, epochs)
    save_variables(state, network.variables)
    run.record("finetuned", **trained, **meter.results(), **counting.size_of(network))
