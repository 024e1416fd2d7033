"""Which images, from where, in what size, and how many of them."""

from __future__ import annotations

import dataclasses

from hmnas_tf.console.ranges import flag


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Data."""

    dataset: str = flag("cifar10", "A TFDS name, `digits`, `folder:PATH` or `npz:FILE`.", path=True)
    data_dir: str = flag("", "Folder of prepared TFDS datasets; empty is TFDS's own default.", path=True)
    idx_dir: str = flag(
        "/usr/share/datasets/fashion-mnist",
        "Folder with Fashion-MNIST's four IDX files (Debian's dataset-fashion-mnist), read when it is not prepared.",
        path=True,
    )
    download: bool = flag(False, "Let TFDS download a dataset that is not prepared yet.")
    image_size: int = flag(0, "Height and width in pixels to resize to; 0 keeps the dataset's own.", low=0)
    train_examples: int = flag(0, "Use only the first N training images; 0 is all.", low=0)
    test_examples: int = flag(0, "Use only the first N test images; 0 is all.", low=0)
    holdout: float = flag(
        0.0,
        "Share of the training images that stands in for the test images, so that these stay unseen; 0 is none.",
        low=0,
        high=0.9,
    )
    cache_dir: str = flag(
        "",
        "Folder to keep decoded images in, on disk; empty is ~/.cache, for images that do not fit well into memory.",
        path=True,
    )
    augmentation: tuple[str, ...] = flag(
        ("auto",), "Comma list of augmentations, `none`, or `auto` for what suits the dataset (§4.2)."
    )
    seed: int = flag(0, "Seed of every random choice.", low=0, high=2**31 - 1)
    search_classes: int = flag(
        0, "Search on this many classes, drawn at random, and fine-tune on all (§4.3: 100); 0 is all.", low=0
    )
