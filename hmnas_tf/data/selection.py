"""Which images and classes of a set are taken, before anything is copied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def count_to_take(wanted: int, available: int, what: str) -> int:
    """`wanted`, or `available` when it is 0; ValueError naming both when there are not that many `what`."""
    if not 0 <= wanted <= available:
        raise ValueError(
            f"cannot take the first {wanted} {what}: there are {available}; ask for fewer, or 0 for all"
        )
    return wanted or available


def random_classes(
    name: str, class_names: Sequence[str], labels: Mapping[str, np.ndarray], count: int, seed: int
) -> np.ndarray:
    """Draws classes at random.

    Args:
        name: of the dataset, for messages.
        class_names: of all classes.
        labels: of each part of the dataset, integers [N].
        count: of classes.
        seed: of the draw.

    Returns:
        Their labels, sorted, int64 [count].

    Raises:
        ValueError: there are not that many classes, or a part has no image of one of those drawn.
    """
    if not 2 <= count <= len(class_names):
        raise ValueError(
            f"cannot take {count} classes of '{name}', which has {len(class_names)}: ask for 2 to "
            f"{len(class_names)}, or 0 for all"
        )
    drawn = np.sort(np.random.default_rng([seed, count]).choice(len(class_names), count, replace=False))
    for part, own in labels.items():
        empty = [class_names[c] for c in drawn if not np.any(own == c)]
        if empty:
            raise ValueError(
                f"dataset '{name}': class {empty[0]!r}, which was drawn to search on, has no {part} image; take more "
                "examples, or another seed"
            )
    return drawn


def held_out(
    name: str, class_names: Sequence[str], labels: np.ndarray, share: float, seed: int
) -> np.ndarray:
    """Draws images of each class at random.

    Args:
        name: of the dataset, for messages.
        class_names: of all classes.
        labels: of the images, integers [N].
        share: of the images of each class, rounded.
        seed: of the draw.

    Returns:
        Which are drawn, bool [N].

    Raises:
        ValueError: no image, or every image of a class, is drawn.
    """
    random, held = np.random.default_rng([seed, 1]), np.zeros(len(labels), bool)
    for label, class_name in enumerate(class_names):
        own = np.flatnonzero(labels == label)
        count = round(len(own) * share)
        if len(own) and count == len(own):
            raise ValueError(
                f"dataset '{name}': a holdout of {share} takes all {count} training images of class {class_name!r}; "
                "take a smaller share or more images"
            )
        held[random.permutation(own)[:count]] = True
    if not held.any():
        raise ValueError(
            f"dataset '{name}': a holdout of {share} takes no image of {len(held)}; take a larger share"
        )
    return held
