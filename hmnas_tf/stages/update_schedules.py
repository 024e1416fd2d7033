"""How often architecture parameters are updated: sigma(t) (paper §3.2, stochastic architecture updates)."""

from __future__ import annotations

import math

import numpy as np


def decisions(schedule: str, *, final: float, steps: int, warmup_steps: int, seed: int) -> np.ndarray:
    """Returns for every step of supernet training whether it updates the architecture parameters.

    Step t after the warm-up does so with probability sigma(t), which falls from 1 to `final` without ever rising. The
    whole table is drawn at once, on the host, so that every replica, process and resumed run decides alike.

    Args:
        schedule: name in `UPDATE_SCHEDULES`.
        final: sigma at the last step, between 0 and 1.
        steps: of the whole stage.
        warmup_steps: first steps, in which the architecture stays as it is (§4.2).
        seed: of the draw.

    Returns:
        bool[steps].
    """
    draws = np.random.Generator(np.random.Philox(key=seed)).random(steps)
    progress = np.clip((np.arange(steps) - warmup_steps) / max(1, steps - warmup_steps - 1), 0.0, 1.0)
    sigma = np.array([update_probability(schedule, p, final) for p in progress])
    return (np.arange(steps) >= warmup_steps) & (draws < sigma)


def update_probability(schedule: str, progress: float, final: float) -> float:
    """Returns sigma at `progress`, from 0 (just after the warm-up) to 1 (the last step)."""
    return UPDATE_SCHEDULES[schedule](progress, final)


def _exponential(progress: float, final: float) -> float:
    lowest = 1e-3  # an exponential never reaches 0: it falls to a thousandth, then jumps to 0
    if final >= lowest:
        return final**progress
    return lowest**progress if progress < 1.0 else final


UPDATE_SCHEDULES = {
    "constant": lambda progress, final: 1.0,
    "cosine": lambda progress, final: final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * progress)),
    "exponential": _exponential,
    "linear": lambda progress, final: 1.0 - (1.0 - final) * progress,
}
