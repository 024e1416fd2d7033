"""All settings of one run, put together of the groups in `hmnas_tf/settings/` (pure Python).

A field of `Config` is a flag of the commands: its default, its range and its one-sentence help stand in its group and
nowhere else. Values the paper does not give are marked DECISION.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from hmnas_tf.console.contradictions import check_together
from hmnas_tf.console.paths import at_home
from hmnas_tf.console.ranges import check_range
from hmnas_tf.console.stores import store_of
from hmnas_tf.settings.budgets import BudgetSettings
from hmnas_tf.settings.data import DataSettings
from hmnas_tf.settings.fine_tuning import FineTuningSettings
from hmnas_tf.settings.losses import LossSettings
from hmnas_tf.settings.mask_search import MaskSettings
from hmnas_tf.settings.paper import MASK_INITIAL
from hmnas_tf.settings.run import RunSettings
from hmnas_tf.settings.search_space import SpaceSettings
from hmnas_tf.settings.supernet_training import SupernetSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(  # the last comes first: so do dataclasses order their fields, and flags follow
    RunSettings,
    FineTuningSettings,
    BudgetSettings,
    MaskSettings,
    SupernetSettings,
    LossSettings,
    SpaceSettings,
    DataSettings,
):
    """All settings of one run: data, search space, the three stages, machine.

    The defaults are the paper's CIFAR-10 settings (§4.1, §4.2).

    Raises:
        ValueError: on a value out of range or a contradiction, naming the flag, the value and what is accepted.
    """

    def __post_init__(self):
        for field in dataclasses.fields(self):
            check_range(field, getattr(self, field.name))
            if field.metadata["path"]:
                object.__setattr__(self, field.name, at_home(getattr(self, field.name), field.name))
        object.__setattr__(self, "mlflow", store_of(self.mlflow))
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

    def augmentations(self, suitable: Sequence[str]) -> tuple[str, ...]:
        """Returns the augmentations that are meant on images that these are suitable for."""
        return tuple({("auto",): suitable, ("none",): ()}.get(self.augmentation, self.augmentation))

    @property
    def budgets(self) -> dict[str, float]:
        """The budgets that are asked for, by the name of the cost, which is that of the flag without `max_`."""
        asked = {cost: getattr(self, f"max_{cost}") for cost in ("parameters", "multiply_adds", "latency_ms")}
        return {cost: value for cost, value in asked.items() if value}

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings as JSON-able values, lists for tuples."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}
