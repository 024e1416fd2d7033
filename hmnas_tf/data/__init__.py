"""Image classification data as uint8 arrays in memory, and batches as pure functions of (seed, step)."""

from hmnas_tf.data.augmentation import AUGMENTATIONS, augment_and_normalise
from hmnas_tf.data.from_memory import Pair, dataset_from
from hmnas_tf.data.image_dataset import ImageDataset
from hmnas_tf.data.pipeline import evaluation_batches, split_indices, training_batches
from hmnas_tf.data.sources import load_dataset

__all__ = [
    "AUGMENTATIONS",
    "ImageDataset",
    "Pair",
    "augment_and_normalise",
    "dataset_from",
    "evaluation_batches",
    "load_dataset",
    "split_indices",
    "training_batches",
]
