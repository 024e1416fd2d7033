"""The architecture that a run trains, and the network that fine-tuning starts from."""

from __future__ import annotations

import keras

from hmnas_tf.derivation.derive import derive
from hmnas_tf.derivation.evaluation_network import evaluation_network, with_classifier
from hmnas_tf.derivation.rules import READ_MASKS, genotype_of, kept_by_masks, random_genotype
from hmnas_tf.derivation.training_network import training_network
from hmnas_tf.networks import counting
from hmnas_tf.networks.supernet import Supernet
from hmnas_tf.reporting.results_table import derivation_lines
from hmnas_tf.runs.preflight import given_genotype, topology_of
from hmnas_tf.runs.run import Run
from hmnas_tf.runs.widths import within_budgets
from hmnas_tf.space.genotype import Genotype
from hmnas_tf.space.topology import sharing_groups
from hmnas_tf.stages.fine_tuning import Regularization
from hmnas_tf.storage import atomic


def searched_genotype(run: Run, supernet: Supernet) -> Genotype:
    """Returns what the derivation rule leaves of a supernet."""
    return genotype_of(supernet, run.config.derivation, run.seed("derivation"))


def architecture(run: Run, supernet: Supernet | None) -> Genotype:
    """Returns the architecture to train, searched or given, at its final size, and writes it down.

    Raises:
        ValueError: if it was given, and is another than when the run began.
    """
    config = run.config
    if supernet is not None:
        genotype = searched_genotype(run, supernet)
    elif config.genotype:
        genotype = given_genotype(config)
    else:
        topology = topology_of(config)
        groups = sharing_groups(topology.plans, config.cell_sharing)
        genotype = random_genotype(topology, groups, run.seed("derivation"))
    genotype = genotype.resized(cells=config.evaluation_cells, initial_channels=config.evaluation_channels)
    if config.budgets and not kept_by_masks(config.budgets, config.derivation):
        genotype = within_budgets(run, genotype)
    path = run.folder.genotype
    if config.genotype and path.exists() and Genotype.loads(path.read_text(encoding="utf-8")) != genotype:
        raise ValueError(
            f"genotype={config.genotype!r} is not what it was when this run began, see {path}: take another --workdir."
        )
    atomic.write_json(path, genotype.to_json())
    return genotype


def measure_searched(run: Run, supernet: Supernet, epochs: int) -> None:
    """Records the network that survived so many epochs, before it is trained any further (Table 3)."""
    if run.done("searched"):
        return
    config, genotype = run.config, searched_genotype(run, supernet)
    with run.building("what the masks leave, to measure it"):
        network = derive(supernet, genotype, run.dataset.image_shape)
    meter = run.meter(network)
    if config.derivation not in READ_MASKS:  # mask search has re-estimated the statistics itself
        meter.estimate_statistics()
    run.say(derivation_lines(genotype, config.cell_sharing))
    run.record(
        "searched",
        epochs,
        **meter.results(),
        **counting.size_of(network),
    )


def initial_network(run: Run, genotype: Genotype, supernet: Supernet | None) -> keras.Model:
    """Returns the network that fine-tuning starts from: with the supernet's weights, or with fresh ones (Table 6)."""
    data = run.dataset
    keras.utils.set_random_seed(run.seed("initial weights"))
    if run.config.initial_weights == "random":
        return evaluation_network(genotype, data.num_classes, data.image_shape)
    network = derive(supernet, genotype, data.image_shape)
    return network if supernet.num_classes == data.num_classes else with_classifier(network, data.num_classes)


def regularization(
    run: Run, genotype: Genotype | None, network: keras.Model, steps_per_epoch: int
) -> Regularization | None:
    """Returns drop path and auxiliary head as the settings ask for them, None if for neither."""
    config = run.config
    if not config.drop_path and not config.auxiliary_weight:
        return None
    with run.building("what drop path and auxiliary head need"):
        trained = training_network(
            network, genotype, drop_path=config.drop_path > 0, auxiliary=config.auxiliary_weight > 0
        )
    return Regularization(
        training_network=trained,
        drop_path=config.drop_path,
        auxiliary_weight=config.auxiliary_weight,
        steps_per_epoch=steps_per_epoch,
        epochs=config.finetune_epochs,
        seed=run.seed("drop path"),
    )
