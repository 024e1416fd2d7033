"""What an image of each class counts in the loss that is trained (a DECISION: the paper's data sets are balanced)."""

from __future__ import annotations

import numpy as np


def balanced(counts: np.ndarray) -> np.ndarray:
    """Returns the weight of each class, n / (k * n_c): all k classes that have images count alike.

    The mean weight of an image is 1, so that the loss keeps its scale.

    Args:
        counts: images n_c of each class that are trained on, integers [classes]; their sum is n.

    Returns:
        float32 [classes]; 0 for a class without an image, which no image asks for.
    """
    counts = np.asarray(counts, np.float64)
    there = counts > 0
    weights = counts.sum() / (there.sum() * np.maximum(counts, 1.0))
    return np.where(there, weights, 0.0).astype(np.float32)


CLASS_WEIGHTS = {  # weights of the classes, or None, from the number of their images
    "none": lambda counts: None,
    "balanced": balanced,
}
