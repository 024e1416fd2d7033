"""Image classification data as uint8 arrays in memory, and batches as pure functions of (seed, step)."""

from hmnas_tf.data.augmentation import AUGMENTATIONS, augment_and_normalise
from hmnas_tf.data.image_dataset import ImageDataset
from hmnas_tf.data.pipeline import evaluation_batches, split_indices, training_batches
from hmnas_tf.data.sources import load_dataset

__all__ = [
    "AUGMENTATIONS",
    "ImageDataset",
    "augment_and_normalise",
    "evaluation_batches",
    "load_dataset",
    "split_indices",
    "training_batches",
]
