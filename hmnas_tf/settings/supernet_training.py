"""How weights, alpha and beta of the supernet are trained."""

from __future__ import annotations

import dataclasses

from hmnas_tf.console.ranges import flag


@dataclasses.dataclass(frozen=True, kw_only=True)
class SupernetSettings:
    """Stage 1, supernet training (§3.2, §4.2)."""

    batch_size: int = flag(128, "Images in one step, over all replicas together.", low=1)
    supernet_epochs: int = flag(100, "Epochs of supernet training.", low=1)
    warmup_epochs: int = flag(10, "First epochs in which alpha and beta stay as they are.", low=0)
    validation_fraction: float = flag(
        0.2, "Share of the training set that trains alpha and beta; 0 is none.", low=0, high=0.9
    )
    weight_learning_rate: float = flag(0.1, "Initial SGD rate of the network weights, cosine to 0.", low=0)
    weight_momentum: float = flag(0.9, "SGD momentum of the network weights.", low=0, high=0.999)
    weight_decay: float = flag(3e-4, "L2 factor of the network weights, added to their gradient.", low=0)
    gradient_clip: float = flag(
        5.0, "Global norm that the weights' gradient is clipped to; 0 is no clipping.", low=0
    )
    architecture_learning_rate: float = flag(3e-4, "Adam rate of alpha and beta.", low=0)
    architecture_beta_1: float = flag(0.5, "Adam's first-moment decay for alpha and beta.", low=0, high=0.999)
    architecture_beta_2: float = flag(
        0.999, "Adam's second-moment decay for alpha and beta.", low=0, high=0.99999
    )
    architecture_decay: float = flag(1e-3, "L2 factor of alpha and beta, added to their gradient.", low=0)
    architecture_gradient: str = flag("first_order", "How the gradient of alpha and beta is approximated.")
    operation_gradient: str = flag(
        "mixed", "How an operation's weights learn in the supernet: as `mixed`, or as if `alone` (DECISION)."
    )
    update_schedule: str = flag(
        "cosine", "Shape of sigma(t), the probability of an architecture step (DECISION)."
    )
    update_probability_final: float = flag(0.0, "Value of sigma(t) at the end of training.", low=0, high=1)
