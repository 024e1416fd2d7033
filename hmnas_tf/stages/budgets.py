"""Budgets: an upper bound on what the masks may leave, and the pressure that mask search puts on it.

The paper has none; all of this is a DECISION. The pressure is an augmented Lagrangian (Nocedal and Wright, Numerical
Optimization, chapter 17, for one inequality each) with a bound that falls from the supernet's cost C0 to the budget B:

    B_t = C0 - (C0 - B) min(1, t / (RAMP D)),    d_t = C(M_t) / B_t - 1,
    lambda_t = max(0, mu_t + kappa d_t),         mu_(t+1) = max(0, mu_t + kappa d_t / (MEMORY T)),

after t of T steps; D is the step at which mask rates drop, after which masks hardly follow. A mask's gradient is that
of the loss plus lambda_t / C0 times what the mask costs.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from hmnas_tf.networks.cost import Cost, Masks
from hmnas_tf.networks.supernet import Supernet

RAMP = 0.75  # of the steps until mask rates drop: after it the bound is the budget
MEMORY = 0.3  # of the stage: in this time the multiplier takes over what the excess pays
SETTLING = 0.8  # of the stage: from then on a mask that goes to and fro stays where it is
FLIPS = 3  # to and fro, that show it
# Share of Adam's way that channels go. Adam moves all masks alike, but a channel's price, with all operations in it,
# stands out of the noise much sooner than an operation's: at the same rate nearly all operations stay, on very few
# channels.
PACE = 0.2


@dataclasses.dataclass(frozen=True)
class Budget:
    """An upper bound on a cost.

    Attributes:
        name: of the cost, in `count.MEASURES`, or `latency_ms`.
        asked: the bound, in the cost's unit.
        cost: what masks cost.
        supernet: the cost of the whole supernet.
    """

    name: str
    asked: float
    cost: Cost
    supernet: float

    @property
    def binding(self) -> bool:
        """Whether the whole supernet is above it."""
        return self.asked < self.supernet

    @functools.cached_property
    def measured(self) -> Callable[[list, list], tuple[Any, list, list]]:
        """A function, built once, from gates and widths to their cost and its derivatives in both, all float64.

        Gates are of groups of cells, [edges, operations] each, with the masks of their edges in them; widths of cells,
        [channels] each.
        """

        @tf.function(autograph=False)
        def measure(gates: list, widths: list) -> tuple:
            with tf.GradientTape() as tape:
                tape.watch([gates, widths])
                edges = [tf.ones(part.shape[:1], part.dtype) for part in gates]
                total = self.cost(Masks(gates, edges, widths))
            return total, *tape.gradient(total, [gates, widths], unconnected_gradients="zero")

        return measure


class Pressure(keras.layers.Layer):
    """What budgets add to the loss of mask search, and which masks are no longer moved.

    Args:
        supernet: whose masks are searched.
        budgets: at least one.
        steps: T, of the stage.
        penalty: kappa, in nats.
        drop_at: share of the steps after which mask rates drop.
    """

    def __init__(
        self,
        supernet: Supernet,
        budgets: Sequence[Budget],
        *,
        steps: int,
        penalty: float,
        drop_at: float = 1.0,
    ):
        super().__init__(name="pressure", dtype="float32")
        self.supernet = supernet
        self.budgets = tuple(budgets)
        self.steps = steps
        self.penalty = penalty
        self.falling = max(1.0, RAMP * drop_at * steps)  # steps in which the bound falls
        own = dict(trainable=False, autocast=False, aggregation="only_first_replica")
        self.multipliers = self.add_weight(
            shape=(len(self.budgets),), initializer="zeros", name="multipliers", **own
        )
        self.watched = [*supernet.architecture_masks, *supernet.width_masks]
        self.paces = [1.0] * len(supernet.architecture_masks) + [PACE] * len(supernet.width_masks)
        self.flips = [
            self.add_weight(shape=mask.shape, initializer="zeros", dtype="int32", name=f"flips_{i}", **own)
            for i, mask in enumerate(self.watched)
        ]
        self.built = True

    def bounds(self, step: Any) -> Any:
        """Returns B_t of each budget after `step` steps, float32 [budgets]."""
        whole = np.float32([budget.supernet for budget in self.budgets])
        asked = np.float32([budget.asked for budget in self.budgets])
        fallen = ops.minimum(1.0, ops.cast(step, "float32") / self.falling)
        return whole - (whole - asked) * fallen

    def excess(self, step: Any) -> tuple[Any, Any]:
        """Returns the costs C(M_t), through which gradients pass, and d_t, both [budgets]."""
        masks = Masks.of(self.supernet)
        costs = ops.stack([budget.cost(masks) for budget in self.budgets])
        return costs, ops.stop_gradient(costs) / self.bounds(step) - 1.0

    def added(self, costs: Any, excess: Any) -> Any:
        """Returns what is added to the loss: its gradient in a mask is sum lambda_t / C0 dC/dM."""
        whole = np.float32([budget.supernet for budget in self.budgets])
        prices = ops.maximum(0.0, self.multipliers.value + self.penalty * excess)
        return ops.sum(ops.stop_gradient(prices) / whole * costs)

    def learn(self, excess: Any) -> None:
        """Moves the multipliers after a step."""
        rise = self.penalty / (MEMORY * self.steps) * excess
        self.multipliers.assign(ops.maximum(0.0, self.multipliers.value + rise))

    def states(self) -> list[Any]:
        """Returns the real masks as they are, for `settle`."""
        return [tf.convert_to_tensor(mask.value) for mask in self.watched]  # Keras would return the variables

    def settle(self, before: Sequence[Any], step: Any) -> None:
        """Lets channels go slower, counts which masks cross the threshold, and takes back those that do it too often.

        Args:
            before: of `states`, before the optimizer's step.
            step: from 0.
        """
        late = ops.cast(step, "float32") >= SETTLING * self.steps
        for mask, old, flips, pace in zip(self.watched, before, self.flips, self.paces, strict=True):
            tired = ops.logical_and(late, flips.value >= FLIPS)
            moved = mask.value if pace == 1.0 else old + pace * (mask.value - old)
            new = ops.where(tired, old, moved)
            crossed = (new > self.supernet.threshold) != (old > self.supernet.threshold)
            mask.assign(new)
            flips.assign(flips.value + ops.cast(crossed, "int32"))

    def report(self, step: int) -> dict[str, float]:
        """Returns for the logs the cost that masks have, the bound and the multiplier after `step` steps."""
        costs, excess = self.excess(step)
        bounds = ops.convert_to_numpy(self.bounds(step))
        prices = np.maximum(0.0, ops.convert_to_numpy(self.multipliers.value + self.penalty * excess))
        found: dict[str, float] = {}
        for i, budget in enumerate(self.budgets):
            found[f"{budget.name}_cost"] = float(ops.convert_to_numpy(costs)[i])
            found[f"{budget.name}_bound"] = float(bounds[i])
            found[f"{budget.name}_multiplier"] = float(prices[i])
        return found
