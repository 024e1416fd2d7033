"""What a run measures its networks by."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from hmnas_tf.config import Config
from hmnas_tf.data import dataset_from
from hmnas_tf.runs.opening import opened
from hmnas_tf.settings.paper import BATCH_NORM_MOMENTUM


@pytest.mark.parametrize(
    ("augmentation", "low", "high"), [("none", 0.99, 1.01), ("cutout", 0.3, 0.9), ("mixup", 0.3, 0.95)]
)
def test_batch_statistics_are_those_of_images_augmented_as_in_training(augmentation, low, high, tmp_path):
    """Half of the pixels are black, half white, so that plain images have a variance of 1; what is cut out is grey."""
    pixels = 255 * np.random.default_rng(0).integers(0, 2, (64, 8, 8, 1)).astype(np.uint8)
    dataset = dataset_from(((pixels, np.arange(64) % 4), (pixels[:8], np.arange(8) % 4)))
    network = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(4),
        ]
    )
    with opened(
        dataset, Config(augmentation=(augmentation,), batch_size=16), tmp_path, lambda line: None
    ) as run:
        run.meter(network).estimate_statistics()
    assert low < network.layers[0].moving_variance.numpy()[0] < high
