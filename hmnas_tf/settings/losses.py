"""What every stage minimises, beside what is its own."""

from __future__ import annotations

import dataclasses

from hmnas_tf.console.ranges import flag


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossSettings:
    """Losses of all stages."""

    label_smoothing: float = flag(
        0.0, "Share of each label that all classes have alike, in the loss that is trained.", low=0, high=0.99
    )
    class_weights: str = flag(
        "none",
        "What an image counts in the loss that is trained: alike, or by how rare its class is (`balanced`; DECISION).",
    )
