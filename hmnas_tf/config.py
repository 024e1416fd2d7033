"""Every number of the paper, once, with the section it stands in (pure Python).

A field of `Config` is a flag of the commands: its default, its range and its one-sentence help stand here and nowhere
else. Values the paper does not give are marked DECISION.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from hmnas_tf.console.contradictions import check_together
from hmnas_tf.console.paths import at_home
from hmnas_tf.console.ranges import check_range
from hmnas_tf.console.ranges import flag as _flag

MASK_INITIAL = 1e-2  # §3.3: every real mask starts here, above the threshold: a fresh mask is all ones
MASK_THRESHOLD = 5e-3  # §3.3: the paper prints 5e-31, which is 5e-3 with the mark of footnote 1
LEAST_CHANNELS = 2  # DECISION: of a cell, whatever its width mask says: a factorized reduce has two parts
STATISTICS_BATCHES = 100  # DECISION: batches that batch statistics are re-estimated from, at most
BATCH_NORM_MOMENTUM = 0.9  # DARTS, in Keras' convention
BATCH_NORM_EPSILON = 1e-5  # DARTS
STEM_MULTIPLIER = 3  # DARTS: the stem has 3C channels
ARCHITECTURE_STDDEV = 1e-3  # DARTS: alpha and beta start at 1e-3 * N(0, 1)
PAPER_OPERATIONS = (  # §4.1, Table 1; no `none`: masks take its part
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
    "max_pool_3x3",
    "avg_pool_3x3",
    "identity",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """All settings of one run: data, search space, the three stages, machine.

    The defaults are the paper's CIFAR-10 settings (§4.1, §4.2).

    Raises:
        ValueError: on a value out of range or a contradiction, naming the flag, the value and what is accepted.
    """

    # Data
    dataset: str = _flag("cifar10", "A TFDS name, `digits`, `folder:PATH` or `npz:FILE`.", path=True)
    data_dir: str = _flag("", "Folder of prepared TFDS datasets; empty is TFDS's own default.", path=True)
    idx_dir: str = _flag(
        "/usr/share/datasets/fashion-mnist",
        "Folder with Fashion-MNIST's four IDX files (Debian's dataset-fashion-mnist), read when it is not prepared.",
        path=True,
    )
    download: bool = _flag(False, "Let TFDS download a dataset that is not prepared yet.")
    image_size: int = _flag(0, "Height and width in pixels to resize to; 0 keeps the dataset's own.", low=0)
    train_examples: int = _flag(0, "Use only the first N training images; 0 is all.", low=0)
    test_examples: int = _flag(0, "Use only the first N test images; 0 is all.", low=0)
    holdout: float = _flag(
        0.0,
        "Share of the training images that stands in for the test images, so that these stay unseen; 0 is none.",
        low=0,
        high=0.9,
    )
    augmentation: tuple[str, ...] = _flag(
        ("auto",), "Comma list of augmentations, `none`, or `auto` for what suits the dataset (§4.2)."
    )
    seed: int = _flag(0, "Seed of every random choice.", low=0, high=2**31 - 1)
    search_classes: int = _flag(
        0, "Search on this many classes, drawn at random, and fine-tune on all (§4.3: 100); 0 is all.", low=0
    )

    # Search space (§4.1)
    initial_channels: int = _flag(36, "Channels C of the first cell.", low=2)
    cells: int = _flag(3, "Cells in the network; reduction cells stand at one and two thirds.", low=1)
    nodes: int = _flag(4, "Intermediate nodes in a cell.", low=1)
    operations: tuple[str, ...] = _flag(
        PAPER_OPERATIONS, "Comma list of the candidate operations of every edge."
    )
    partial_channels: int = _flag(
        1,
        "Only one in this many channels of a node goes through its operations, the others pass by; 1 is all.",
        low=1,
    )
    stem: str = _flag(
        "cifar", "Stem of the network: `cifar` keeps the resolution, `imagenet` divides it by 8."
    )
    edge_softmax: str = _flag(
        "node",
        "Softmax of beta over a node's incoming edges (Eq. 2), over the whole cell, or no beta at all.",
    )
    cell_sharing: str = _flag(
        "type", "Cells that share alpha and beta: those of one `type`, `all`, or none (`cell`)."
    )
    renormalize: bool = _flag(False, "Let mixing weights that survive sum to 1 again (DECISION: no).")

    # Stage 1, supernet training (§3.2, §4.2)
    batch_size: int = _flag(128, "Images in one step, over all replicas together.", low=1)
    supernet_epochs: int = _flag(100, "Epochs of supernet training.", low=1)
    warmup_epochs: int = _flag(10, "First epochs in which alpha and beta stay as they are.", low=0)
    validation_fraction: float = _flag(
        0.2, "Share of the training set that trains alpha and beta; 0 is none.", low=0, high=0.9
    )
    weight_learning_rate: float = _flag(0.1, "Initial SGD rate of the network weights, cosine to 0.", low=0)
    weight_momentum: float = _flag(0.9, "SGD momentum of the network weights.", low=0, high=0.999)
    weight_decay: float = _flag(3e-4, "L2 factor of the network weights, added to their gradient.", low=0)
    gradient_clip: float = _flag(
        5.0, "Global norm that the weights' gradient is clipped to; 0 is no clipping.", low=0
    )
    label_smoothing: float = _flag(
        0.0, "Share of each label that all classes have alike, in the loss that is trained.", low=0, high=0.99
    )
    architecture_learning_rate: float = _flag(3e-4, "Adam rate of alpha and beta.", low=0)
    architecture_beta_1: float = _flag(
        0.5, "Adam's first-moment decay for alpha and beta.", low=0, high=0.999
    )
    architecture_beta_2: float = _flag(
        0.999, "Adam's second-moment decay for alpha and beta.", low=0, high=0.99999
    )
    architecture_decay: float = _flag(1e-3, "L2 factor of alpha and beta, added to their gradient.", low=0)
    architecture_gradient: str = _flag("first_order", "How the gradient of alpha and beta is approximated.")
    operation_gradient: str = _flag(
        "mixed", "How an operation's weights learn in the supernet: as `mixed`, or as if `alone` (DECISION)."
    )
    update_schedule: str = _flag(
        "cosine", "Shape of sigma(t), the probability of an architecture step (DECISION)."
    )
    update_probability_final: float = _flag(0.0, "Value of sigma(t) at the end of training.", low=0, high=1)

    # Stage 2, mask search (§3.3, §4.2)
    mask_epochs: int = _flag(20, "Epochs of mask search.", low=1)
    threshold: float = _flag(MASK_THRESHOLD, "A real mask at or below it is 0 (Eq. 4).", low=0, high=1)
    mask_rates: str = _flag("absolute", "Whether mask rates are Adam rates (the paper's) or stage fractions.")
    weight_mask_rate: float = _flag(1e-4, "Adam rate of weight masks, with absolute rates.", low=0)
    architecture_mask_rate: float = _flag(
        1e-5, "Adam rate of operation and edge masks, with absolute rates.", low=0
    )
    weight_mask_crossing: float = _flag(
        0.25,
        "Stage fraction after which a steadily falling weight mask is 0, with relative rates.",
        low=0.001,
        high=1,
    )
    architecture_mask_crossing: float = _flag(
        0.5, "Stage fraction after which a steadily falling operation or edge mask is 0.", low=0.001, high=1
    )
    mask_weight_learning_rate: float = _flag(
        0.0,
        "SGD rate of the network weights in mask search; 0 freezes them as the paper does (DECISION).",
        low=0,
    )
    operation_price: float = _flag(
        0.0,
        "Training loss, in nats, that an operation must save to survive; 0 is the paper's (DECISION).",
        low=0,
    )
    max_parameters: int = _flag(0, "Most parameters of the derived network; 0 is any number.", low=0)
    max_multiply_adds: int = _flag(
        0, "Most multiply-adds of one image that the derived network may need; 0 is any number.", low=0
    )
    max_latency_ms: float = _flag(
        0.0, "Most milliseconds of one image, on one thread of this machine; 0 is any number.", low=0
    )
    max_memory_kb: int = _flag(
        0,
        "Most kB that activations of one image need, or the arena of the format micro; 0 is any number.",
        low=0,
    )
    latency_runtime: str = _flag("onnx", "Runtime in which --max_latency_ms is measured.")
    budget_penalty: float = _flag(
        2.0, "How strongly mask search pays for what exceeds a budget: kappa, in nats (DECISION).", low=0
    )
    mask_drop_at: float = _flag(0.5, "Stage fraction after which both mask rates are divided.", low=0, high=1)
    mask_drop_factor: float = _flag(10.0, "What both mask rates are divided by.", low=1)

    # Derivation and stage 3, fine-tuning (§3.4, §4.2)
    derivation: str = _flag("masks", "Rule that chooses the surviving operations and edges.")
    genotype: str = _flag(
        "",
        "Train this architecture instead of searching: a genotype.json or a published name such as DARTS_V2.",
        path=True,
    )
    initial_weights: str = _flag(
        "inherited",
        "Weights that the derived network starts from: `inherited` (§3.4), or `random` (Table 6).",
    )
    evaluation_cells: int = _flag(
        0,
        "Cells of a network with random weights, as DARTS evaluates with 20; 0 is as many as searched.",
        low=0,
    )
    evaluation_channels: int = _flag(
        0, "Channels C of a network with random weights, as DARTS evaluates with 36; 0 is as searched.", low=0
    )
    finetune_epochs: int = _flag(200, "Epochs of fine-tuning; 0 leaves the searched network as it is.", low=0)
    finetune_batch_size: int = _flag(96, "Images in one step of fine-tuning (DECISION: as DARTS).", low=1)
    finetune_learning_rate: float = _flag(
        0.025, "Initial SGD rate of fine-tuning (DECISION: as DARTS).", low=0
    )
    finetune_schedule: str = _flag(
        "cosine", "Fine-tuning rate: `cosine` to 0, or `step`, a tenth at half-way (§4.3)."
    )
    drop_path: float = _flag(
        0.0,
        "Probability of dropping an edge at the end of fine-tuning, growing from 0; DARTS: 0.2.",
        low=0,
        high=0.9,
    )
    auxiliary_weight: float = _flag(
        0.0, "Weight of the loss of DARTS' auxiliary head in fine-tuning; 0 is no head; DARTS: 0.4.", low=0
    )

    # Run
    evaluate_every: int = _flag(
        1, "Epochs between two evaluations on the test split; 0 is only at a stage's end.", low=0
    )
    checkpoint_steps: int = _flag(500, "Steps between two checkpoints; every epoch's end has one too.", low=1)
    replicas: int = _flag(0, "GPUs to train on; 0 is all that are visible, or the CPU.", low=0)
    deterministic: bool = _flag(
        False, "Take TensorFlow's deterministic operations only, so that reruns are bit-equal on GPUs too."
    )
    recompute: bool = _flag(
        False, "Compute supernet edges again on the way back, not keep them: less memory, more time."
    )
    mixed_precision: bool = _flag(
        False, "Compute in bfloat16; masks, alpha, beta and losses stay in float32."
    )
    formats: tuple[str, ...] = _flag(
        ("keras", "saved_model", "onnx", "litert"),
        "Comma list of the formats to export; .keras files are always written, the others are made from them.",
    )
    quantize: tuple[str, ...] = _flag(
        ("none",), "Comma list of none and int8; int8 adds files with 8-bit weights and activations."
    )

    def __post_init__(self):
        for field in dataclasses.fields(self):
            check_range(field, getattr(self, field.name))
            if field.metadata["path"]:
                object.__setattr__(self, field.name, at_home(getattr(self, field.name), field.name))
        if self.threshold >= MASK_INITIAL:
            raise ValueError(
                f"threshold={self.threshold} would remove everything at once, because masks start at {MASK_INITIAL}: "
                "make it smaller (footnote 1 of the paper: robust within [0, 1e-2])."
            )
        check_together(self)

    @property
    def searches(self) -> bool:
        """Whether a supernet is trained: neither a given architecture nor a random one with new weights needs it."""
        return not self.genotype and (self.derivation, self.initial_weights) != ("random", "random")

    @property
    def budgets(self) -> dict[str, float]:
        """The budgets that are asked for, by the name of the cost, which is that of the flag without `max_`."""
        asked = {cost: getattr(self, f"max_{cost}") for cost in ("parameters", "multiply_adds", "latency_ms")}
        return {cost: value for cost, value in asked.items() if value}

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings as JSON-able values, lists for tuples."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}
