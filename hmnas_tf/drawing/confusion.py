"""Which classes a network takes for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from hmnas_tf.drawing.heat_maps import shades
from hmnas_tf.drawing.theme import SMALL, chart, plain, themed

MOST_NUMBERS = 20  # classes whose counts are legible in their cells
LONGEST = 24  # characters of a name; the rest is cut


@themed
def confusion_matrix(counts: Any, class_names: Sequence[str]) -> Figure:
    """Draws how many images of each class were taken for each class.

    The shade is the square root of a class's share, so that rare mistakes are seen beside what is right.

    Args:
        counts: int [true class, predicted class].
        class_names: as many.

    Raises:
        ValueError: if there are not as many names as rows and columns.
    """
    counts = np.asarray(counts)
    classes = len(class_names)
    if counts.shape != (classes, classes):
        raise ValueError(f"counts have the shape {counts.shape}, but there are {classes} class names.")
    side = min(11.0, max(4.0, 0.42 * classes))
    figure, (axes,) = chart(side, width=side + 1.0)
    axes.grid(False)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shades(np.sqrt(shares)), interpolation="nearest", aspect="equal")
    size = min(SMALL, 0.85 * 72 * (side - 1.5) / classes)  # less than the height of a row, in points
    names = [plain(name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…") for name in class_names]
    axes.set_xticks(range(classes), names, rotation=90, fontsize=size)
    axes.set_yticks(range(classes), names, fontsize=size)
    if classes <= MOST_NUMBERS:
        for row, column in np.argwhere(counts):
            axes.text(column, row, f"{counts[row, column]}", fontsize=SMALL, ha="center", va="center")
    axes.tick_params(length=0)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    return figure
