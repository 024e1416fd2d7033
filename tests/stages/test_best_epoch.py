"""The best of several epochs is kept and given back; patience counts epochs without a better one."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from hmnas_tf.stages.best_epoch import BestEpoch
from hmnas_tf.stages.stage import Stage

NAN = float("nan")


@pytest.fixture
def owner(make_stock_network) -> Stage:
    return Stage(make_stock_network())


@pytest.mark.parametrize(
    ("measured", "best"),
    [
        ([(5.0, 1.0), (4.0, 2.0), (6.0, 0.1)], 2),
        ([(5.0, 1.0), (5.0, 0.9), (5.0, 0.95)], 2),
        ([(5.0, 1.0), (5.0, 1.0)], 1),
        ([(NAN, NAN), (90.0, 9.0)], 2),
    ],
    ids=str,
)
def test_the_lowest_error_wins_and_of_equal_ones_the_lowest_loss(measured, best, owner):
    weight = keras.Variable([0.0, 0.0])
    chosen = BestEpoch(owner, [weight])
    assert chosen.epoch == 0
    for epoch, (error, loss) in enumerate(measured, 1):
        weight.assign([epoch, -epoch])
        chosen.see(epoch, error, loss)
    chosen.restore()
    assert weight.numpy().tolist() == [best, -best]
    assert (chosen.epoch, chosen.error) == (best, measured[best - 1][0])


def test_patience_counts_epochs_since_the_best_also_where_not_every_one_is_measured(owner):
    ended = {}
    for patience in (0, 2, 4):
        chosen = BestEpoch(owner, [keras.Variable([0.0])], patience)
        assert not chosen.has_ended
        ended[patience] = []
        for epoch, error in ((2, 9.0), (4, 3.0), (6, 5.0), (8, 4.0)):
            chosen.see(epoch, error, 1.0)
            ended[patience].append(chosen.has_ended)
    assert ended == {0: [False] * 4, 2: [False, False, True, True], 4: [False, False, False, True]}


def test_what_is_kept_belongs_to_the_checkpoint(owner):
    before = {id(variable) for variable in owner.variables}
    chosen = BestEpoch(owner, owner.network.variables)
    added = [variable for variable in owner.variables if id(variable) not in before]
    assert len(added) == 4 + len(owner.network.variables)
    assert not any(variable.trainable for variable in added)
    chosen.see(3, 12.5, 0.25)
    assert {float(np.max(v.numpy())) for v in added[:4]} >= {12.5, 0.25, 3.0}
