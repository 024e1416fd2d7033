"""Trains the three stages for a few steps on N logical CPU devices and writes every variable to a file.

Run by test_replicas.py as `python replicas_program.py N ORDER K FILE`: the number of devices must be set before
TensorFlow starts.
"""

from __future__ import annotations

import json
import sys

import keras
import numpy as np
import tensorflow as tf

from hmnas_tf.data import evaluation_batches, training_batches
from hmnas_tf.derivation.derive import derive
from hmnas_tf.derivation.fast_network import fast_network
from hmnas_tf.derivation.rules import genotype_of
from hmnas_tf.derivation.training_network import training_network
from hmnas_tf.networks.cost import Masks
from hmnas_tf.networks.count import Count
from hmnas_tf.networks.supernet import Supernet
from hmnas_tf.space.topology import Topology
from hmnas_tf.stages.budgets import Budget, Pressure
from hmnas_tf.stages.distillation import Teacher
from hmnas_tf.stages.evaluation import Evaluation
from hmnas_tf.stages.fine_tuning import FineTuning, Regularization
from hmnas_tf.stages.mask_search import MaskSearch
from hmnas_tf.stages.optimizers import SGD, Adam
from hmnas_tf.stages.strategy import make_strategy
from hmnas_tf.stages.supernet_training import SupernetTraining

STEPS, BATCH = 16, 16


def batches(seed: int, mixed_classes: int = 0) -> tf.data.Dataset:
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (4 * BATCH + 3, 8, 8, 1), np.uint8)
    labels = random.integers(0, 4, len(images))
    settings = dict(augmentation=("crop", "flip", "mixup", "cutout"), mean=(0.5,), std=(0.25,))
    return training_batches(
        images,
        labels,
        batch_size=BATCH,
        start_step=0,
        total_steps=STEPS,
        seed=seed,
        mixed_classes=mixed_classes,
        **settings,
    )


def values(network: keras.Model) -> list[np.ndarray]:
    return [variable.numpy() for variable in network.variables]


def pressure_of(supernet: Supernet) -> Pressure:
    """A budget of a third of the parameters."""
    cost = Count(supernet, "parameters")
    whole = float(cost(Masks.of(supernet)))
    return Pressure(supernet, [Budget("parameters", whole / 3, cost, whole)], steps=STEPS, penalty=2.0)


def main(replicas: int, order: str, partial_channels: int, path: str) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
    strategy = make_strategy(replicas)
    keras.utils.set_random_seed(0)
    with strategy.scope():
        operations = ("sep_conv_3x3", "max_pool_3x3", "identity")[:: 1 if order == "first_order" else 2]
        topology = Topology(
            initial_channels=4,
            cells=1,
            nodes=1,
            operations=operations,
            partial_channels=partial_channels,
        )
        supernet = Supernet(topology, 4, width_masks=partial_channels == 1)
        supernet.build((None, 8, 8, 1))
        # Adam divides by the gradient's own size, so an epsilon above its rounding error keeps that from being seen.
        training = SupernetTraining(
            supernet,
            weight_optimizer=SGD(0.02, momentum=0.9),
            architecture_optimizer=Adam(0.01, beta_1=0.5, epsilon=1e-3),
            decisions=np.arange(STEPS) % 4 != 1,
            weight_decay=3e-4,
            gradient_clip=1.0,
            architecture_decay=1e-3,
            architecture_gradient=order,
        )
    found = {}

    def fit(name: str, stage: keras.Model, data: tf.data.Dataset) -> None:
        history = stage.fit(data, verbose=0, shuffle=False).history
        found[f"{name} metrics"] = np.array([history[key][0] for key in sorted(history)])
        found.update({f"{name} {i:03d}": value for i, value in enumerate(values(stage.network))})
        for number, optimizer in enumerate(stage.optimizers):
            slots = [variable.numpy() for variable in optimizer.variables]
            found.update({f"{name} optimizer {number} {i:03d}": slot for i, slot in enumerate(slots)})

    fit("supernet", training, tf.data.Dataset.zip(batches(1), batches(2)))
    if order == "first_order":
        with strategy.scope():
            pressure = pressure_of(supernet) if supernet.width_masks else None
            masks = MaskSearch(
                supernet,
                weight_mask_optimizer=Adam(5e-4, epsilon=1e-3),
                architecture_mask_optimizer=Adam(5e-4, epsilon=1e-3),
                operation_price=0.002,
                pressure=pressure,
            )
        # With seed 3 one pixel comes so near a ReLU's 0 that rounding decides its gradient: 2e-5 in one filter.
        fit("masks", masks, batches(6))
        if pressure is not None:
            own = pressure.variables
            found.update({f"masks pressure {i:03d}": variable.numpy() for i, variable in enumerate(own)})
        masked = np.random.default_rng(0)
        for mask in supernet.weight_masks:  # the same cut, whatever the last bits of the masks are
            mask.assign(np.where(masked.random(mask.shape) < 0.7, 1e-2, 0.0))
        with strategy.scope():
            genotype = genotype_of(supernet, "masks")
            network = fast_network(derive(supernet, genotype, (8, 8, 1)))
            found["genotype"] = np.array(json.dumps(genotype.to_json()))
            dropping = Regularization(
                training_network=training_network(network, genotype, drop_path=True, auxiliary=False),
                drop_path=0.5,
                auxiliary_weight=0.0,
                steps_per_epoch=2,
                epochs=STEPS // 2,
                seed=5,
            )
            optimizer = SGD(0.05, momentum=0.9)
            teacher = derive(supernet, genotype, (8, 8, 1))
            teacher.trainable = False
            tuning = FineTuning(
                network,
                optimizer=optimizer,
                weight_decay=3e-4,
                gradient_clip=1.0,
                regularization=dropping,
                teacher=Teacher(teacher),
                weight_average=0.9,
                best=True,
            )
        tuning.class_weights = np.array([0.5, 2.0, 1.0, 0.25], np.float32)
        fit("tuning", tuning, batches(4, mixed_classes=4))
        averages = tuning.average.averages
        found.update({f"tuning average {i:03d}": variable.numpy() for i, variable in enumerate(averages)})
        with tuning.measured():
            tuning.see(1, 50.0, 1.0)
        tuning.finish()
        found.update({f"tuning kept {i:03d}": value for i, value in enumerate(values(network))})
        with strategy.scope():
            evaluation = Evaluation(network, 4)
        random = np.random.default_rng(7)
        images, labels = random.integers(0, 256, (37, 8, 8, 1), np.uint8), random.integers(0, 4, 37)
        test = evaluation_batches(images, labels, batch_size=BATCH, mean=(0.5,), std=(0.25,))
        evaluation.evaluate(test, verbose=0)
        counted = evaluation.counted.counts()
        assert counted.confusion.sum() == counted.bins[:, 0].sum() == len(labels), "padding does not count"
        found.update({"tuning confusion": counted.confusion, "tuning bins": counted.bins})
    np.savez(path, **found)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4])
