"""Settings that take names: which, and of what. Loads nothing that needs TensorFlow."""

from __future__ import annotations

from collections.abc import Collection

from hmnas_tf.config import Config
from hmnas_tf.console.names import NamesOf, require_known
from hmnas_tf.space.topology import CELL_SHARINGS, REDUCE_IN, STEMS

AUGMENTATION_WORDS = ("auto", "none")
INITIAL_WEIGHTS = ("inherited", "random")
KEPT = ("best", "last")
CHOICES: dict[str, Collection[str]] = {  # settings that take one of these names
    "architecture_gradient": NamesOf("hmnas_tf.stages.hypergradients", "HYPERGRADIENTS"),
    "cell_sharing": CELL_SHARINGS,
    "class_weights": NamesOf("hmnas_tf.stages.class_weights", "CLASS_WEIGHTS"),
    "derivation": NamesOf("hmnas_tf.derivation.rules", "RULES"),
    "edge_softmax": NamesOf("hmnas_tf.layers.multi_level_encoding", "EDGE_SOFTMAXES"),
    "finetune_schedule": NamesOf("hmnas_tf.stages.learning_rates", "FINETUNE_SCHEDULES"),
    "initial_weights": INITIAL_WEIGHTS,
    "keep": KEPT,
    "latency_runtime": NamesOf("hmnas_tf.exporters.timing", "LATENCY_RUNTIMES"),
    "operation_gradient": NamesOf("hmnas_tf.stages.operation_gradients", "OPERATION_GRADIENTS"),
    "mask_rates": NamesOf("hmnas_tf.stages.learning_rates", "MASK_RATES"),
    "reduce_in": REDUCE_IN,
    "stem": STEMS,
    "update_schedule": NamesOf("hmnas_tf.stages.update_schedules", "UPDATE_SCHEDULES"),
}
LISTS: dict[str, Collection[str]] = {  # settings that take several of these names
    "augmentation": NamesOf("hmnas_tf.data.augmentation", "AUGMENTATIONS", also=AUGMENTATION_WORDS),
    "formats": NamesOf("hmnas_tf.exporters.formats", "FORMATS"),
    "operations": NamesOf("hmnas_tf.layers.operations", "OPERATIONS"),
    "quantize": NamesOf("hmnas_tf.exporters.formats", "QUANTIZATIONS"),
}


def check_names(config: Config) -> None:
    """Refuses a setting that is not one of the names it can be.

    Raises:
        ValueError: naming the setting, the value and what is accepted.
    """
    for name, known in CHOICES.items():
        require_known(name, (getattr(config, name),), known)
    for name, known in LISTS.items():
        require_known(name, getattr(config, name), known)
    words = {*AUGMENTATION_WORDS} & set(config.augmentation)
    if words and len(config.augmentation) > 1:
        raise ValueError(
            f"augmentation={','.join(config.augmentation)!r}: {sorted(words)[0]!r} must stand alone."
        )
    if set(config.operations) <= {"none"}:
        raise ValueError("operations='none': there must be one that does something.")
