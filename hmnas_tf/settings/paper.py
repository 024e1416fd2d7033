"""Constants of the paper and of DARTS, once, each with the section it stands in (pure Python)."""

MASK_INITIAL = 1e-2  # §3.3: every real mask starts here, above the threshold: a fresh mask is all ones
MASK_THRESHOLD = 5e-3  # §3.3: the paper prints 5e-31, which is 5e-3 with the mark of footnote 1
LEAST_CHANNELS = 2  # DECISION: of a cell, whatever its width mask says: a factorized reduce has two parts
STATISTICS_BATCHES = 100  # DECISION: batches that batch statistics are re-estimated from, at most
BATCH_NORM_MOMENTUM = 0.9  # DARTS, in Keras' convention
BATCH_NORM_EPSILON = 1e-5  # DARTS
STEM_MULTIPLIER = 3  # DARTS: the stem has 3C channels
ARCHITECTURE_STDDEV = 1e-3  # DARTS: alpha and beta start at 1e-3 * N(0, 1)
DISTILLATION_TEMPERATURE = 4.0  # DECISION: what logits are divided by where a teacher is learned from
DISTILLATION_SHARE = 0.5  # DECISION: of the teacher in the loss, the rest is the labels'
PAPER_OPERATIONS = (  # §4.1, Table 1; no `none`: masks take its part
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
    "max_pool_3x3",
    "avg_pool_3x3",
    "identity",
)
