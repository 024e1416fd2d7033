"""Mask search that gets faster as it prunes: its graph is built again from what can still matter, where that pays."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from hmnas_tf.console.progress import Say, counted, silent
from hmnas_tf.layers.activity import ACTIVE, GONE, RESTING
from hmnas_tf.layers.multi_level_encoding import MultiLevelEncoding, living_gates, strongest_path
from hmnas_tf.networks.counting import mask_step_multiply_adds
from hmnas_tf.networks.supernet import Supernet
from hmnas_tf.stages.learning_rates import Schedule
from hmnas_tf.stages.strategy import several_workers

ROUNDING = 1e-3  # share by which float32 could let Adam step further than the bound says; far too large
BUILDING = (
    200.0  # steps; on a CPU a graph takes as long as 30 (C = 16, 28x28) to over 100 (C = 8, 8x8) of them
)


def largest_steps(optimizer: keras.optimizers.Adam, rate: Schedule, start: int, end: int) -> np.ndarray:
    """Returns how far Adam can move a value in each of the steps from `start` to `end`, whatever the gradients.

    After t steps m = (1 - b1) sum_i b1^i g_(t-i) and v = (1 - b2) sum_i b2^i g_(t-i)^2, i < t. By Cauchy and Schwarz

        m^2 <= (1 - b1)^2 / (1 - b2) * v * sum_i (b1^2 / b2)^i,

    and a step is rate * sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + epsilon). For b1 = 0.9, b2 = 0.999 that is 1 rate
    in the first step and at most 7.27 later.

    Args:
        optimizer: whose betas are read.
        rate: learning rate by step.
        start: steps already made.
        end: steps made in the end.

    Returns:
        float64 [end - start], in units of the value.
    """
    one, two, t = float(optimizer.beta_1), float(optimizer.beta_2), np.arange(start + 1, end + 1.0)
    rates = ops.convert_to_numpy(rate(np.arange(start, end, dtype=np.int32))).astype(np.float64)
    weights = np.cumsum((one**2 / two) ** np.arange(end))[start:]
    corrections = np.sqrt(1.0 - two**t) / (1.0 - one**t)
    return rates * corrections * (1.0 - one) * np.sqrt(weights / (1.0 - two))


def possible_gates(encoding: MultiLevelEncoding, reach: float) -> np.ndarray:
    """Returns which gates could be 1 at any time while no real mask rises by more than `reach`: bool.

    A gate is surely 0 if its operation's mask, its edge's mask or its source is. What a cell without any path would be
    left with is never surely 0.
    """
    of_operations, of_edges = (
        ops.convert_to_numpy(mask).astype(np.float64) + reach > np.float32(encoding.threshold)
        for mask in encoding.real_masks
    )
    operations, edges = encoding.importances()
    importance = operations * ops.expand_dims(edges, -1)
    path = ops.convert_to_numpy(strongest_path(importance, encoding.nodes)) > 0
    could_be = ((of_operations & of_edges[:, None]) | path).astype(np.float32)
    gates = living_gates(ops.convert_to_tensor(could_be), ops.ones(len(of_edges)), importance, encoding.nodes)
    return ops.convert_to_numpy(gates) > 0


class Shrinking(keras.callbacks.Callback):
    """Looks at the end of each epoch which operations cannot come back, and builds the training graph without them.

    An operation whose gate surely stays 0 until the next epoch ends rests: it is computed forward only, because its
    mask still learns. One whose gate surely stays 0 to the end of the stage is gone: it is not computed. Only zeros are
    left out, so the numbers are the same but for the order in which TensorFlow adds more than nine of them up: the last
    bits. Therefore the choice is a function of masks and steps, not of the clock, and the stage's checkpoints have it:
    a run and its repetition, stopped or not, add up alike. A graph must be built where a resting operation might come
    back. Several workers keep the graph that they begin with.

    Args:
        supernet: of the stage, which is a `MaskSearch` with Adam.
        rate: learning rate of the masks of operations and edges, by step.
        steps: of the stage.
        steps_per_epoch: batches an epoch.
        say: shows a line to the user.
        building: steps that must be saved for a graph to be built, about as many as are made in the time it takes.
    """

    def __init__(
        self,
        supernet: Supernet,
        rate: Schedule,
        steps: int,
        *,
        steps_per_epoch: int,
        say: Say = silent,
        building: float = BUILDING,
    ):
        super().__init__()
        self.supernet = supernet
        self.rate = rate
        self.steps = steps
        self.steps_per_epoch = steps_per_epoch
        self.say = say
        self.building = building

    def on_train_begin(self, logs=None):
        self.supernet.set_activity(self.model.tables())

    def on_train_end(self, logs=None):
        self.supernet.set_activity()  # for all other graphs

    def on_epoch_end(self, epoch, logs=None):
        done = int(self.model.optimizer.iterations.numpy())
        if done % self.steps_per_epoch or done >= self.steps or several_workers():
            return
        old, new = self.model.tables(), self.possible_tables(done)
        before, after = (mask_step_multiply_adds(self.supernet, tables) for tables in (old, new))
        saved = (1.0 - after / before) * (self.steps - done)
        if saved > self.building or any((n > o).any() for n, o in zip(new, old, strict=True)):
            self.model.build_again(new)
            self.say(_line(new))

    def possible_tables(self, done: int) -> list[np.ndarray]:
        """Returns the activity that operations need after `done` steps, [edges, operations] for each encoding."""
        optimizer = self.model.architecture_mask_optimizer
        ways = largest_steps(optimizer, self.rate, done, self.steps) * (1.0 + ROUNDING)
        tables = []
        for encoding in self.supernet.encodings:
            rounded = ways + np.spacing(np.float32(encoding.threshold))  # a mask is rounded in each step
            soon, ever = rounded[: self.steps_per_epoch].sum(), rounded.sum()
            rests, gone = ~possible_gates(encoding, soon), ~possible_gates(encoding, ever)
            tables.append(np.select([gone, rests], [GONE, RESTING], ACTIVE))
        return tables


def _line(tables: list[np.ndarray]) -> str:
    states = np.concatenate([table.reshape(-1) for table in tables])
    gone, rest = int((states == GONE).sum()), int((states == RESTING).sum())
    return (
        f"mask search: of {counted(states.size, 'operation')} {gone} can no longer come back and {rest} not in the "
        "next epoch; the graph is built again for the others"
    )
