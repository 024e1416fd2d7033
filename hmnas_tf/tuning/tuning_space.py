"""Which settings `hmnas_tf.tune` tries, and between which values (pure Python)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

from hmnas_tf.config import Config
from hmnas_tf.settings.paper import MASK_INITIAL

AUTO = "auto"  # the word for the hyperparameters that matter for a configuration


class Interval(NamedTuple):
    """Values of one hyperparameter, both ends among them.

    Attributes:
        low: the smallest.
        high: the largest.
        log: whether every doubling, not every unit, is as likely as another.
    """

    low: float
    high: float
    log: bool = False


@dataclasses.dataclass(frozen=True)
class Hyperparameter:
    """A setting that can be tuned.

    Attributes:
        low: smallest value by default.
        high: largest value by default.
        log: whether it is searched on a logarithmic scale.
        relative: whether `low` and `high` are factors of the value that the configuration has.
        step: distance of whole numbers; 0 for real ones.
        rates: value of `mask_rates` with which it does anything; "" with both.
        of_budgets: whether it does anything with a budget only.
    """

    low: float
    high: float
    log: bool = False
    relative: bool = False
    step: int = 0
    rates: str = ""
    of_budgets: bool = False

    def idle(self, config: Config) -> str:
        """Returns the flag without which it does nothing for a configuration; "" if it does something."""
        if self.rates not in ("", config.mask_rates):
            return f"--mask_rates={self.rates}"
        return "--max_parameters or another budget" if self.of_budgets and not config.budgets else ""

    def interval(self, value: float) -> Interval:
        """Returns the default interval around the configuration's value."""
        low, high = (bound * value if self.relative else bound for bound in (self.low, self.high))
        if self.step:
            low, high = (max(1, int(bound // self.step)) * self.step for bound in (low, high))
        return Interval(low, high, self.log)


# DECISION: the paper says only that tau may lie anywhere in [0, 1e-2] (footnote 1).
HYPERPARAMETERS = {
    "architecture_learning_rate": Hyperparameter(0.2, 5, log=True, relative=True),
    "architecture_mask_crossing": Hyperparameter(0.1, 1, rates="relative"),
    "architecture_mask_rate": Hyperparameter(0.2, 5, log=True, relative=True, rates="absolute"),
    "budget_penalty": Hyperparameter(0.2, 5, log=True, relative=True, of_budgets=True),
    "finetune_learning_rate": Hyperparameter(0.2, 5, log=True, relative=True),
    "initial_channels": Hyperparameter(0.5, 2, relative=True, step=2),
    "operation_price": Hyperparameter(1e-4, 1e-2, log=True),
    "threshold": Hyperparameter(0.1 * MASK_INITIAL, 0.9 * MASK_INITIAL),
    "update_probability_final": Hyperparameter(0, 1),
    "weight_learning_rate": Hyperparameter(0.2, 5, log=True, relative=True),
    "weight_mask_crossing": Hyperparameter(0.1, 1, rates="relative"),
    "weight_mask_rate": Hyperparameter(0.2, 5, log=True, relative=True, rates="absolute"),
}
CHANGES_SPACE = {"initial_channels"}  # what a search can find, and so which budgets can be met


def space(asked: Sequence[str], config: Config) -> dict[str, Interval]:
    """Returns what is to be tried.

    Args:
        asked: `NAME` or `NAME:LOW:HIGH` each; or only `auto`, all that do anything with this configuration.
        config: with the values that relative intervals are around.

    Returns:
        An interval for each hyperparameter, in the order asked.

    Raises:
        ValueError: if a name is unknown, given twice or without effect, or an interval is none or holds values that
            the setting cannot have.
    """
    words = _all(config) if list(asked) == [AUTO] else asked
    found: dict[str, Interval] = {}
    for word in words:
        name, *bounds = word.split(":")
        if name not in HYPERPARAMETERS or name in found:
            raise ValueError(
                f"hyperparameters={','.join(asked)!r}: {name!r} is given twice or none of "
                f"{', '.join(HYPERPARAMETERS)}, or {AUTO!r} alone."
            )
        found[name] = _interval(word, bounds, HYPERPARAMETERS[name], config)
    if not found:
        raise ValueError("hyperparameters is empty: name at least one, or 'auto'.")
    return found


def _all(config: Config) -> list[str]:
    free = config.operation_price == 0
    return [
        name
        for name, kind in HYPERPARAMETERS.items()
        if not kind.idle(config) and not (name == "operation_price" and free)
    ]


def _interval(word: str, bounds: Sequence[str], kind: Hyperparameter, config: Config) -> Interval:
    name = word.split(":")[0]
    if kind.idle(config):
        raise ValueError(f"hyperparameters: {name!r} does nothing without {kind.idle(config)}.")
    interval = kind.interval(getattr(config, name))
    if bounds:
        interval = Interval(*_numbers(word, bounds, kind), kind.log)
    if not interval.low < interval.high or (kind.log and not interval.low > 0):
        raise ValueError(
            f"hyperparameters: {word!r} lies between {interval.low:g} and {interval.high:g}: the first must be less "
            f"than the second{' and above 0' if kind.log else ''}; give {name}:LOW:HIGH."
        )
    for value in interval[:2]:
        dataclasses.replace(config, **{name: value})  # says which values it can have
    return interval


def _numbers(word: str, bounds: Sequence[str], kind: Hyperparameter) -> list[float]:
    try:
        low, high = (int(bound) if kind.step else float(bound) for bound in bounds)
    except ValueError:
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high)):
        whole = "whole " if kind.step else ""
        raise ValueError(f"hyperparameters: {word!r} is not NAME:LOW:HIGH with two {whole}numbers.")
    return [low, high]
