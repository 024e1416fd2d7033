"""What is built of the masks, and how it is trained further."""

from __future__ import annotations

import dataclasses

from hmnas_tf.console.ranges import flag


@dataclasses.dataclass(frozen=True, kw_only=True)
class FineTuningSettings:
    """Derivation and stage 3, fine-tuning (§3.4, §4.2)."""

    derivation: str = flag("masks", "Rule that chooses the surviving operations and edges.")
    genotype: str = flag(
        "",
        "Train this architecture instead of searching: a genotype.json or a published name such as DARTS_V2.",
        path=True,
    )
    initial_weights: str = flag(
        "inherited",
        "Weights that the derived network starts from: `inherited` (§3.4), or `random` (Table 6).",
    )
    evaluation_cells: int = flag(
        0,
        "Cells of a network with random weights, as DARTS evaluates with 20; 0 is as many as searched.",
        low=0,
    )
    evaluation_channels: int = flag(
        0, "Channels C of a network with random weights, as DARTS evaluates with 36; 0 is as searched.", low=0
    )
    finetune_epochs: int = flag(200, "Epochs of fine-tuning; 0 leaves the searched network as it is.", low=0)
    finetune_batch_size: int = flag(96, "Images in one step of fine-tuning (DECISION: as DARTS).", low=1)
    finetune_learning_rate: float = flag(
        0.025, "Initial SGD rate of fine-tuning (DECISION: as DARTS).", low=0
    )
    finetune_schedule: str = flag(
        "cosine", "Fine-tuning rate: `cosine` to 0, or `step`, a tenth at half-way (§4.3)."
    )
    finetune_warmup_epochs: int = flag(
        0, "First epochs of fine-tuning in which its rate rises linearly; 0 is none (DECISION).", low=0
    )
    weight_average: float = flag(
        0.0,
        "Decay of a moving average of the weights in fine-tuning, which is measured and kept; 0 is none (DECISION).",
        low=0,
        high=0.99999,
    )
    keep: str = flag(
        "last",
        "Weights that fine-tuning ends with: the `last`, or the `best` epoch's on images held out (DECISION).",
    )
    patience: int = flag(
        0,
        "Epochs of fine-tuning without a better one that end it, with --keep=best; 0 trains all of them.",
        low=0,
    )
    teacher: str = flag(
        "",
        "A .keras file whose probabilities fine-tuning learns beside the labels; empty is none (DECISION).",
        path=True,
    )
    drop_path: float = flag(
        0.0,
        "Probability of dropping an edge at the end of fine-tuning, growing from 0; DARTS: 0.2.",
        low=0,
        high=0.9,
    )
    auxiliary_weight: float = flag(
        0.0, "Weight of the loss of DARTS' auxiliary head in fine-tuning; 0 is no head; DARTS: 0.4.", low=0
    )
