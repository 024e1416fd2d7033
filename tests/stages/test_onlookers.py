"""Callbacks of a user see a stage as one `fit`, however often it is interrupted; they may end it, not change it."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.stages.fine_tuning import FineTuning
from hmnas_tf.stages.fit import fit
from hmnas_tf.stages.onlookers import Onlookers, by_stage

EPOCHS, STEPS = 3, 4
TOTAL = EPOCHS * STEPS
STAGES = ("supernet", "searched", "finetuned")


class Killed(Exception):
    """Stands for a machine that goes down."""


class Diary(keras.callbacks.Callback):
    """Writes down what it is told; does something at one of the events."""

    def __init__(self, at: tuple = (), action=lambda model: None):
        super().__init__()
        self.events: list[tuple] = []
        self.logs: list[dict] = []
        self.at, self.action = at, action

    def note(self, *event) -> None:
        self.events.append(event)
        if event == self.at:
            self.action(self.model)

    def on_train_begin(self, logs=None):
        self.note("train begins", self.params["epochs"], self.params["steps"])

    def on_train_end(self, logs=None):
        self.note("train ends")

    def on_epoch_begin(self, epoch, logs=None):
        self.note("epoch begins", epoch)

    def on_epoch_end(self, epoch, logs=None):
        self.note("epoch ends", epoch)
        self.logs.append(dict(logs))
        logs["error"] = None  # a copy

    def on_train_batch_begin(self, batch, logs=None):
        self.note("batch begins", batch)

    def on_train_batch_end(self, batch, logs=None):
        self.note("batch ends", batch)
        assert set(logs) >= {"loss", "error"}


def kill(model) -> None:
    raise Killed


def stop(model) -> None:
    model.stop_training = True


def of_epochs(*epochs: int) -> list[tuple]:
    """Returns what is told of epochs."""
    events: list[tuple] = []
    for epoch in epochs:
        events.append(("epoch begins", epoch))
        for batch in range(STEPS):
            events += [("batch begins", batch), ("batch ends", batch)]
        events.append(("epoch ends", epoch))
    return events


BEGIN, END = ("train begins", EPOCHS, STEPS), ("train ends",)


@pytest.fixture(scope="module")
def batches():
    random = np.random.default_rng(0)
    images = random.standard_normal((TOTAL, 8, 8, 8, 1), np.float32)
    labels = random.integers(0, 4, (TOTAL, 8)).astype(np.int32)
    return lambda start: tf.data.Dataset.from_tensor_slices((images[start:], labels[start:]))


@pytest.fixture(scope="module")
def train(make_stock_network, batches):
    def apply(folder: Path, *diaries: Diary) -> FineTuning:
        optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
        stage = FineTuning(make_stock_network(), optimizer=optimizer, weight_decay=1e-3, gradient_clip=5.0)
        fit(
            stage,
            batches,
            epochs=EPOCHS,
            steps_per_epoch=STEPS,
            directory=folder,
            checkpoint_steps=1,
            callbacks=[Onlookers(diaries, EPOCHS, STEPS)] if diaries else [],
        )
        return stage

    return apply


@pytest.fixture(scope="module")
def unseen(train, values, tmp_path_factory):
    """The weights of a stage that nobody looks at."""
    return values(train(tmp_path_factory.mktemp("unseen")).network.variables)


def test_looking_changes_nothing_and_sees_everything(train, tmp_path, unseen, bitwise_equal, values):
    diaries = Diary(), Diary()
    stage = train(tmp_path, *diaries)
    assert bitwise_equal(values(stage.network.variables), unseen)
    for diary in diaries:
        assert diary.events == [BEGIN, *of_epochs(0, 1, 2), END]
        assert all(logs["error"] is not None and np.isfinite(logs["loss"]) for logs in diary.logs)
        assert diary.model is stage
        assert diary.model.network is stage.network


def test_a_stage_that_goes_on_tells_the_rest_as_one(train, tmp_path, unseen, bitwise_equal, values):
    killed, rest = Diary(("batch ends", 2), kill), Diary()
    with pytest.raises(Killed):
        train(tmp_path, killed)
    assert bitwise_equal(values(train(tmp_path, rest).network.variables), unseen)
    first, *others = of_epochs(0, 1, 2)
    within = others[others.index(("batch begins", 2)) :]
    assert rest.events == [BEGIN, first, *within, END]


def test_an_epoch_that_a_kill_kept_from_its_checkpoint_is_told_again(train, tmp_path):
    with pytest.raises(Killed):
        train(tmp_path, Diary(("epoch ends", 1), kill))
    rest = Diary()
    train(tmp_path, rest)
    last = of_epochs(1)[2 * STEPS - 1 :]
    assert rest.events == [BEGIN, ("epoch begins", 1), *last, *of_epochs(2), END]
    again = Diary()
    train(tmp_path, again)
    assert again.events == [], "the stage is finished"


@pytest.mark.parametrize("event", [("epoch ends", 1), ("batch ends", 2), ("epoch begins", 1)])
def test_a_callback_ends_the_stage_with_its_epoch_and_it_stays_ended(event, train, tmp_path):
    diary, other = Diary(event, stop), Diary()
    stage = train(tmp_path, diary, other)
    epochs = 1 if event[0] == "batch ends" else 2
    assert int(stage.optimizer.iterations) == epochs * STEPS
    assert diary.events == other.events == [BEGIN, *of_epochs(*range(epochs)), END]
    again = Diary()
    stage = train(tmp_path, again)
    assert int(stage.optimizer.iterations) == epochs * STEPS
    assert again.events == []


def test_an_end_that_was_not_saved_is_asked_for_again(train, tmp_path, monkeypatch):
    save = tf.train.CheckpointManager.save

    def broken(manager, checkpoint_number):
        if checkpoint_number == 2 * STEPS:
            raise Killed
        return save(manager, checkpoint_number=checkpoint_number)

    monkeypatch.setattr(tf.train.CheckpointManager, "save", broken)
    with pytest.raises(Killed):
        train(tmp_path, Diary(("epoch ends", 1), stop))
    monkeypatch.undo()
    assert int(train(tmp_path, Diary()).optimizer.iterations) == TOTAL
    assert int(train(tmp_path).optimizer.iterations) == TOTAL


def test_callbacks_are_given_by_stage_or_for_all_and_made_where_they_are_to_be():
    one, other = Diary(), Diary()
    found = by_stage({"searched": [one, Diary], "finetuned": (other,)}, STAGES)
    assert found["supernet"] == []
    assert found["searched"][0] is one
    assert type(found["searched"][1]) is Diary
    assert found["finetuned"] == [other]
    for_all = by_stage([one, lambda: Diary()], STAGES)
    assert [made[0] for made in for_all.values()] == [one] * 3
    assert len({made[1] for made in for_all.values()}) == 3
    assert by_stage((), STAGES) == {name: [] for name in STAGES}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"mask search": []}, "there is no stage 'mask search': expected some of supernet, searched"),
        (Diary(), "callbacks of supernet: expected a list of keras.callbacks.Callback, received Diary"),
        ("csv", "expected a list of keras.callbacks.Callback, received str"),
        ({"searched": Diary()}, "callbacks of searched: expected a list"),
        ([3], "or what makes one without arguments, received int"),
        ([list], "received list, which made list"),
    ],
)
def test_what_is_no_callback_is_told(given, words):
    with pytest.raises(ValueError, match="^callbacks") as caught:
        by_stage(given, STAGES)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
