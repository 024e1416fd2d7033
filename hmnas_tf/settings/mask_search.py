"""How the masks of operations, edges and weights are learned."""

from __future__ import annotations

import dataclasses

from hmnas_tf.console.ranges import flag
from hmnas_tf.settings.paper import MASK_THRESHOLD


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskSettings:
    """Stage 2, mask search (§3.3, §4.2)."""

    mask_epochs: int = flag(20, "Epochs of mask search.", low=1)
    threshold: float = flag(MASK_THRESHOLD, "A real mask at or below it is 0 (Eq. 4).", low=0, high=1)
    mask_rates: str = flag("absolute", "Whether mask rates are Adam rates (the paper's) or stage fractions.")
    weight_mask_rate: float = flag(1e-4, "Adam rate of weight masks, with absolute rates.", low=0)
    architecture_mask_rate: float = flag(
        1e-5, "Adam rate of operation and edge masks, with absolute rates.", low=0
    )
    weight_mask_crossing: float = flag(
        0.25,
        "Stage fraction after which a steadily falling weight mask is 0, with relative rates.",
        low=0.001,
        high=1,
    )
    architecture_mask_crossing: float = flag(
        0.5, "Stage fraction after which a steadily falling operation or edge mask is 0.", low=0.001, high=1
    )
    mask_weight_learning_rate: float = flag(
        0.0,
        "SGD rate of the network weights in mask search; 0 freezes them as the paper does (DECISION).",
        low=0,
    )
    operation_price: float = flag(
        0.0,
        "Training loss, in nats, that an operation must save to survive; 0 is the paper's (DECISION).",
        low=0,
    )
    mask_drop_at: float = flag(0.5, "Stage fraction after which both mask rates are divided.", low=0, high=1)
    mask_drop_factor: float = flag(10.0, "What both mask rates are divided by.", low=1)
