"""Learning rates as functions of the step, so that a resumed run has them too (paper §4.2, §4.3)."""

from __future__ import annotations

import keras
import numpy as np

from hmnas_tf.config import Config
from hmnas_tf.settings.paper import MASK_INITIAL

Schedule = keras.optimizers.schedules.LearningRateSchedule


def cosine(rate: float, steps: int) -> Schedule:
    """Falls from `rate` to 0 in `steps` steps along half a cosine."""
    return keras.optimizers.schedules.CosineDecay(rate, steps)


def dropped(rate: float, steps: int, at: float, factor: float) -> Schedule:
    """Is `rate`, then `rate / factor` from the fraction `at` of `steps` on."""
    return keras.optimizers.schedules.PiecewiseConstantDecay(
        [round(at * steps) - 1], [float(rate), rate / factor]
    )


FINETUNE_SCHEDULES = {
    "cosine": cosine,
    "step": lambda rate, steps: dropped(rate, steps, 0.5, 10.0),  # §4.3: a tenth at half-way
}


class WarmedUp(Schedule):
    """A schedule whose rate rises linearly in the first steps: min(1, (t + 1) / steps) times its own at step t.

    Args:
        schedule: that is followed, over the whole length.
        steps: of the warm-up.
    """

    def __init__(self, schedule: Schedule, steps: int):
        self.schedule = schedule
        self.steps = steps

    def __call__(self, step):
        rising = (keras.ops.cast(step, "float32") + 1.0) / self.steps
        return keras.ops.minimum(rising, 1.0) * self.schedule(step)

    def get_config(self):
        return {"schedule": self.schedule, "steps": self.steps}


def finetune_schedule(config: Config, steps_per_epoch: int) -> Schedule:
    """Returns the rate of fine-tuning by the settings; its length is the planned one, also with patience."""
    shape = FINETUNE_SCHEDULES[config.finetune_schedule]
    schedule = shape(config.finetune_learning_rate, steps_per_epoch * config.finetune_epochs)
    warmup = steps_per_epoch * config.finetune_warmup_epochs
    return WarmedUp(schedule, warmup) if warmup else schedule


def crossing_rate(
    crossing: float, *, distance: float, steps: int, drop_at: float, drop_factor: float
) -> float:
    """Returns the Adam rate at which a mask whose gradient never changes sign reaches the threshold in time.

    Adam moves a mask by about its rate each step, whatever the gradient's size, so the way made after t steps is
    rate * (min(t, d) + max(0, t - d) / drop_factor), where d is the step at which the rates drop. Solving for the rate
    at t = crossing * steps makes a stage of any length able to prune (DECISION; the paper gives rates for 3,910 steps
    before the drop).

    Args:
        crossing: fraction of the stage after which the threshold is reached.
        distance: from the initial real mask to the threshold.
        steps: of the whole stage.
        drop_at: fraction of the stage at which rates are divided by `drop_factor`.
        drop_factor: see above.
    """
    reached, drop = crossing * steps, drop_at * steps
    return distance / (min(reached, drop) + max(0.0, reached - drop) / drop_factor)


def _absolute(
    rate: float, crossing: float, *, steps: int, drop_at: float, drop_factor: float, **_: float
) -> Schedule:
    return dropped(rate, steps, drop_at, drop_factor)


def _relative(rate: float, crossing: float, **stage: float) -> Schedule:
    return _absolute(crossing_rate(crossing, **stage), crossing, **stage)


MASK_RATES = {  # schedule of a mask's Adam rate from (rate, crossing, distance=, steps=, drop_at=, drop_factor=)
    "absolute": _absolute,
    "relative": _relative,
}


def mask_schedules(config: Config, steps: int) -> dict[str, Schedule]:
    """Returns the Adam rates of the masks of `architecture` (operations and edges) and `weight`, by the settings."""
    stage = dict(
        distance=MASK_INITIAL - config.threshold,
        steps=steps,
        drop_at=config.mask_drop_at,
        drop_factor=config.mask_drop_factor,
    )
    rate = MASK_RATES[config.mask_rates]
    return {
        "architecture": rate(config.architecture_mask_rate, config.architecture_mask_crossing, **stage),
        "weight": rate(config.weight_mask_rate, config.weight_mask_crossing, **stage),
    }


def way(schedule: Schedule, steps: int) -> float:
    """Returns the sum of a mask's Adam rate over the first `steps` steps: about how far the mask can go in them."""
    rates = schedule(np.arange(steps, dtype=np.int32))  # piecewise constant schedules take all steps at once
    return float(keras.ops.convert_to_numpy(rates).astype(np.float64).sum())
