"""The state of a network after its best epoch, and whether it is worth to train on (a DECISION)."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from hmnas_tf.stages.weight_average import copy_values


class BestEpoch:
    """Keeps what a network was when it was best; what is measured must not be test images.

    Of two epochs the one with the lower error is better; of those with the same error, as small sets often have, the
    one with the lower loss. All of it is held in variables of the stage, so that a checkpoint has it and a run that
    goes on chooses as one that was never interrupted.

    Args:
        owner: stage whose variables these are.
        variables: of the network.
        patience: epochs without a better one after which it `has_ended`; 0 is never.
    """

    def __init__(self, owner: keras.Model, variables: Sequence[keras.Variable], patience: int = 0):
        self.variables = list(variables)
        self.patience = patience

        def add(name: str, shape: Sequence[int], dtype: str, value: float = 0.0) -> keras.Variable:
            start = keras.initializers.Constant(value)
            return owner.add_weight(
                shape=shape, dtype=dtype, initializer=start, trainable=False, name=f"best_{name}"
            )

        self._error = add("error", (), "float32", np.inf)
        self._loss = add("loss", (), "float32", np.inf)
        self._epoch = add("epoch", (), "int32")
        self._waited = add("waited", (), "int32")
        self._copies = [add(f"{i}", v.shape, v.dtype) for i, v in enumerate(self.variables)]

    @property
    def epoch(self) -> int:
        """Number of the best epoch, from 1; 0 before the first was measured."""
        return int(self._epoch.numpy())

    @property
    def error(self) -> float:
        """Its error in percent."""
        return float(self._error.numpy())

    @property
    def has_ended(self) -> bool:
        """Whether patience has run out."""
        return 0 < self.patience <= int(self._waited.numpy())

    def see(self, epoch: int, error: float, loss: float) -> None:
        """Keeps the network as it is if it is better than at the epochs before.

        Args:
            epoch: number of the epoch that has ended, from 1.
            error: measured after it, in percent.
            loss: of the same images.
        """
        found = np.float32(error), np.float32(loss)
        if found < (self._error.numpy(), self._loss.numpy()):
            self._error.assign(found[0])
            self._loss.assign(found[1])
            self._epoch.assign(epoch)
            copy_values(self.variables, self._copies)
        self._waited.assign(epoch - self.epoch)

    def restore(self) -> None:
        """Gives the network what was kept; where no epoch was measured it stays as it is."""
        if self.epoch:
            copy_values(self._copies, self.variables)
