"""What the derived network may cost; mask search keeps it."""

from __future__ import annotations

import dataclasses

from hmnas_tf.console.ranges import flag

KB = 1000  # bytes, in `max_memory_kb`


@dataclasses.dataclass(frozen=True, kw_only=True)
class BudgetSettings:
    """Budgets."""

    max_parameters: int = flag(0, "Most parameters of the derived network; 0 is any number.", low=0)
    max_multiply_adds: int = flag(
        0, "Most multiply-adds of one image that the derived network may need; 0 is any number.", low=0
    )
    max_latency_ms: float = flag(
        0.0, "Most milliseconds of one image, on one thread of this machine; 0 is any number.", low=0
    )
    max_memory_kb: int = flag(
        0,
        "Most kB that activations of one image need, or the arena of the format micro; 0 is any number.",
        low=0,
    )
    latency_runtime: str = flag("onnx", "Runtime in which --max_latency_ms is measured.")
    budget_penalty: float = flag(
        2.0, "How strongly mask search pays for what exceeds a budget: kappa, in nats (DECISION).", low=0
    )
