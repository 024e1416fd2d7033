"""What a tuning is after: the tuner, what is minimised, what may change. Loads neither KerasTuner nor TensorFlow."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from hmnas_tf.console.names import NamesOf, require_known

TUNERS = NamesOf("hmnas_tf.tuning.trials", "TUNERS")
TRIALS = 20  # of tuners that never end by themselves

OBJECTIVES = {  # what is minimised: of the fine-tuned network's entry in results.json, and the worth of a halving
    "both": lambda stage, halving: stage["test_error"] + halving * math.log2(stage["params"]),
    "params": lambda stage, halving: float(stage["params"]),
    "test_error": lambda stage, halving: stage["test_error"],
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tuning:
    """How settings are tuned.

    Args:
        tuner: name in `trials.TUNERS`.
        objective: name in `OBJECTIVES`.
        hyperparameters: see `tuning_space.space`.
        trials: at most; 0 is `TRIALS`, with Hyperband as many as it has.
        halving_worth: percentage points of error that halving the parameters is worth, for the objective `both`.

    Raises:
        ValueError: if the tuner or the objective is unknown.
    """

    tuner: str = "bayesian"
    objective: str = "both"
    hyperparameters: Sequence[str] = ("auto",)
    trials: int = 0
    halving_worth: float = 0.5

    def __post_init__(self):
        for name, known in (("tuner", TUNERS), ("objective", OBJECTIVES)):
            require_known(name, (getattr(self, name),), known)

    @property
    def most(self) -> int:
        """How many trials there are at most; 0 is no limit."""
        return self.trials or (0 if self.tuner == "hyperband" else TRIALS)

    def flag_lines(self) -> list[str]:
        """Returns what makes it this tuning and no other, as `--name=value`; more trials can be asked for later."""
        values = dataclasses.asdict(self) | {"hyperparameters": ",".join(self.hyperparameters)}
        return [f"--{name}={value}" for name, value in values.items() if name != "trials"]
