"""Killed at any instant and run again, a stage ends with the bits of a run that was never interrupted."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.stages.fine_tuning import FineTuning
from hmnas_tf.stages.fit import fit
from hmnas_tf.stages.learning_rates import cosine
from hmnas_tf.stages.mask_search import MaskSearch
from hmnas_tf.stages.telemetry import EpochTelemetry, read_rows

EPOCHS, STEPS = 3, 4
TOTAL = EPOCHS * STEPS


class Killed(Exception):
    """Stands for a machine that goes down."""


class At(keras.callbacks.Callback):
    """Does something after a step, before the step's checkpoint, or at the end of an epoch."""

    def __init__(self, action, *, step: int = 0, epoch: int = 0):
        super().__init__()
        self.action, self.step, self.epoch = action, step, epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.step and int(self.model.optimizer.iterations) == self.step:
            self.action()

    def on_epoch_end(self, epoch, logs=None):
        if self.epoch and epoch + 1 == self.epoch:
            self.action()


def kill() -> None:
    raise Killed


@pytest.fixture(scope="module")
def images_and_labels():
    random = np.random.default_rng(0)
    return random.standard_normal((TOTAL, 8, 8, 8, 1), np.float32), random.integers(0, 4, (TOTAL, 8)).astype(
        np.int32
    )


@pytest.fixture(scope="module")
def batches(images_and_labels):
    """Returns the batches from a step on, as a function of the step."""
    images, labels = images_and_labels
    return lambda start: tf.data.Dataset.from_tensor_slices((images[start:], labels[start:]))


@pytest.fixture(scope="module")
def make_stage(make_stock_network):
    def make(rate=None, decay: float = 1e-3) -> FineTuning:
        optimizer = keras.optimizers.SGD(cosine(0.05, TOTAL) if rate is None else rate, momentum=0.9)
        return FineTuning(make_stock_network(), optimizer=optimizer, weight_decay=decay, gradient_clip=5.0)

    return make


def train(stage, batches, folder: Path, *callbacks, every: int = 1) -> None:
    metrics = EpochTelemetry("fine-tuning", EPOCHS, STEPS, folder / "metrics.csv", lambda line: None)
    fit(
        stage,
        batches,
        epochs=EPOCHS,
        steps_per_epoch=STEPS,
        directory=folder / "checkpoints",
        checkpoint_steps=every,
        callbacks=[metrics, *callbacks],
    )


def state(stage) -> list[np.ndarray]:
    variables = [*stage.network.variables]
    for optimizer in stage.optimizers:
        variables += optimizer.variables
    return [np.array(variable) for variable in variables]


def rows(folder: Path) -> list[dict[str, str]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read_rows(folder / "metrics.csv")]


@pytest.fixture(scope="module")
def uninterrupted(make_stage, batches, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    stage = make_stage()
    train(stage, batches, folder)
    assert int(stage.optimizer.iterations) == TOTAL
    assert [row["epoch"] for row in rows(folder)] == ["1", "2", "3"]
    return state(stage), rows(folder)


KILLS = {
    "in the first step": (dict(step=1), 1),
    "within an epoch": (dict(step=6), 1),
    "within an epoch, between checkpoints": (dict(step=7), 2),
    "in the last step of an epoch": (dict(step=8), 2),
    "before the checkpoint of an epoch's end": (dict(epoch=2), 2),
    "at the very end": (dict(epoch=3), 1),
}


@pytest.mark.parametrize("when", KILLS)
def test_killed_and_resumed_is_uninterrupted(
    when, make_stage, batches, tmp_path, uninterrupted, bitwise_equal
):
    place, every = KILLS[when]
    with pytest.raises(Killed):
        train(make_stage(), batches, tmp_path, At(kill, **place), every=every)
    resumed = make_stage()
    train(resumed, batches, tmp_path, every=every)
    assert bitwise_equal(state(resumed), uninterrupted[0])
    assert rows(tmp_path) == uninterrupted[1]


def test_killed_again_and_again_is_uninterrupted(make_stage, batches, tmp_path, uninterrupted, bitwise_equal):
    stage, kills = make_stage(), 0
    started = state(stage)
    for step in range(2, TOTAL + 1, 3):
        with pytest.raises(Killed):
            train(stage, batches, tmp_path, At(kill, step=step))
        kills += 1
        for variable, value in zip(stage.network.variables, started, strict=False):
            variable.assign(value + 1.0)  # only the checkpoint can bring it back
    train(stage, batches, tmp_path)
    assert kills == 4
    assert bitwise_equal(state(stage), uninterrupted[0])
    assert rows(tmp_path) == uninterrupted[1]


def test_a_resumed_run_starts_at_the_newest_checkpoint(make_stage, batches, tmp_path):
    with pytest.raises(Killed):
        train(make_stage(), batches, tmp_path, At(kill, step=7), every=2)
    asked = []
    train(make_stage(), lambda start: asked.append(start) or batches(start), tmp_path, every=2)
    assert asked == [6]


def test_a_finished_stage_is_only_read(make_stage, batches, tmp_path, uninterrupted, bitwise_equal):
    train(make_stage(), batches, tmp_path)
    stage = make_stage()
    train(stage, lambda start: pytest.fail("no batch is needed"), tmp_path)
    assert bitwise_equal(state(stage), uninterrupted[0])


ERRORS = (9.0, 4.0, 5.0)  # of the epochs, on images held out


def choosing(make_stock_network, seen: list[int], patience: int = 0) -> tuple[FineTuning, At]:
    """Returns a stage that averages its weights and keeps the best epoch, and what tells it the errors."""
    optimizer = keras.optimizers.SGD(cosine(0.05, TOTAL), momentum=0.9)
    settings = dict(weight_decay=1e-3, gradient_clip=5.0, weight_average=0.9, best=True, patience=patience)
    stage = FineTuning(make_stock_network(), optimizer=optimizer, **settings)

    class Told(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            with stage.measured():
                stage.see(epoch + 1, ERRORS[epoch], 1.0)
            seen.append(epoch + 1)

    return stage, Told()


def test_the_best_epoch_of_an_average_survives_kills(
    make_stock_network, batches, tmp_path, bitwise_equal, values
):
    stage, told = choosing(make_stock_network, [])
    train(stage, batches, tmp_path / "whole", told)
    stage.finish()
    whole = values(stage.network.variables)
    assert (stage.best.epoch, stage.best.error) == (2, 4.0)
    for step in (3, 6, 8, 9, 12):
        stage, told = choosing(make_stock_network, [])
        with pytest.raises(Killed):
            train(stage, batches, tmp_path / "killed", told, At(kill, step=step), every=2)
    stage, told = choosing(make_stock_network, [])
    train(stage, batches, tmp_path / "killed", told, every=2)
    stage.finish()
    assert bitwise_equal(values(stage.network.variables), whole)


def test_patience_ends_a_stage_also_one_that_goes_on_within_an_epoch_and_it_stays_ended(
    make_stock_network, batches, tmp_path, bitwise_equal, values, monkeypatch
):
    monkeypatch.setattr(f"{__name__}.ERRORS", (4.0, 9.0, 1.0))
    seen: list[int] = []
    stage, told = choosing(make_stock_network, seen, patience=1)
    with pytest.raises(Killed):
        train(stage, batches, tmp_path, told, At(kill, step=6))
    for _ in range(2):
        stage, told = choosing(make_stock_network, seen, patience=1)
        train(stage, batches, tmp_path, told)
        assert int(stage.optimizer.iterations) == 2 * STEPS
        assert stage.has_ended
    assert seen == [1, 2]
    assert stage.best.epoch == 1


ENDS = {signal.SIGTERM: SystemExit, signal.SIGHUP: SystemExit, signal.SIGINT: KeyboardInterrupt}


@pytest.fixture(autouse=True)
def as_in_a_terminal() -> Iterator[None]:
    """None of the signals is ignored, however these tests were started."""
    found = {number: signal.signal(number, signal.default_int_handler) for number in ENDS}
    yield
    for number, handler in found.items():
        signal.signal(number, handler)


def told_to_stop(number: int = signal.SIGTERM, times: int = 1) -> Callable[[], None]:
    """Returns what sends a signal to this process."""
    return lambda: [os.kill(os.getpid(), number) for _ in range(times)] and None


@pytest.mark.parametrize(
    ("place", "number", "times"),
    [
        (dict(step=1), signal.SIGINT, 2),
        (dict(step=6), signal.SIGTERM, 1),
        (dict(step=8), signal.SIGHUP, 1),
        (dict(epoch=1), signal.SIGTERM, 3),
        (dict(epoch=3), signal.SIGINT, 1),
    ],
    ids=str,
)
def test_a_signal_saves_and_ends_with_its_exit_code(
    place, number, times, make_stage, batches, tmp_path, uninterrupted, bitwise_equal
):
    before = [signal.getsignal(each) for each in ENDS]
    with pytest.raises(ENDS[number]) as caught:
        train(make_stage(), batches, tmp_path, At(told_to_stop(number, times), **place), every=100)
    assert getattr(caught.value, "code", 130) == 128 + number
    assert [signal.getsignal(each) for each in ENDS] == before
    asked = []
    resumed = make_stage()
    train(resumed, lambda start: asked.append(start) or batches(start), tmp_path, every=100)
    expected = place.get("step") or place["epoch"] * STEPS
    assert all(expected <= start <= expected + 1 for start in asked)
    assert bool(asked) == (expected < TOTAL)
    assert bitwise_equal(state(resumed), uninterrupted[0])
    assert rows(tmp_path) == uninterrupted[1]


def test_a_further_signal_while_a_checkpoint_is_written_destroys_nothing(
    make_stage, batches, tmp_path, uninterrupted, bitwise_equal, monkeypatch
):
    save, saves = tf.train.CheckpointManager.save, []

    def impatient(manager, checkpoint_number):
        saves.append(checkpoint_number)
        told_to_stop(signal.SIGINT, 2)()
        return save(manager, checkpoint_number=checkpoint_number)

    monkeypatch.setattr(tf.train.CheckpointManager, "save", impatient)
    with pytest.raises(KeyboardInterrupt):
        train(make_stage(), batches, tmp_path, every=100)
    assert saves == [4, 5]
    monkeypatch.undo()
    resumed = make_stage()
    train(resumed, batches, tmp_path, every=100)
    assert bitwise_equal(state(resumed), uninterrupted[0])


def test_before_there_is_anything_to_save_it_ends_at_once(make_stage, tmp_path):
    begun = At(lambda: pytest.fail("no step is waited for"), step=1)
    begun.on_train_batch_begin = lambda batch, logs=None: told_to_stop(signal.SIGINT)()
    with pytest.raises(KeyboardInterrupt):
        train(
            make_stage(),
            lambda start: tf.data.Dataset.from_tensors(
                (np.zeros((8, 8, 8, 1), np.float32), np.zeros(8, np.int32))
            ).repeat(),
            tmp_path,
            begun,
        )
    assert not list((tmp_path / "checkpoints").glob("ckpt*"))


@pytest.mark.parametrize("name", ["lr[0.1]", "all *?{a,b} \\ %#é"])
def test_in_a_folder_with_any_name_it_is_the_same(
    name, make_stage, batches, tmp_path, uninterrupted, bitwise_equal
):
    folder = tmp_path / name
    with pytest.raises(Killed):
        train(make_stage(), batches, folder, At(kill, step=6))
    resumed = make_stage()
    train(resumed, batches, folder)
    assert bitwise_equal(state(resumed), uninterrupted[0])
    assert rows(folder) == uninterrupted[1]
    kept = sorted(path.name for path in (folder / "checkpoints").glob("*.index"))
    assert kept == ["ckpt-11.index", "ckpt-12.index"]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_sigterm_in_a_resumed_epoch_ends_it_too(make_stage, batches, tmp_path, uninterrupted, bitwise_equal):
    for step in (6, 7):
        with pytest.raises(SystemExit):
            train(make_stage(), batches, tmp_path, At(told_to_stop(), step=step), every=100)
    resumed = make_stage()
    train(resumed, batches, tmp_path, every=100)
    assert bitwise_equal(state(resumed), uninterrupted[0])
    assert rows(tmp_path) == uninterrupted[1]


def test_an_exception_gives_the_signal_handler_back(make_stage, batches, tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(Killed):
            train(make_stage(), batches, tmp_path, At(kill, step=2))
        assert signal.getsignal(signal.SIGTERM) == before
    finally:
        signal.signal(signal.SIGTERM, before)


def newest_values(folder: Path) -> list[np.ndarray]:
    path = tf.train.latest_checkpoint(str(folder / "checkpoints"))
    reader = tf.train.load_checkpoint(path)
    return [
        reader.get_tensor(name) for name in reader.get_variable_to_shape_map() if name.startswith("state/")
    ]


@pytest.mark.parametrize("every", [1, 100])
def test_a_loss_that_is_no_number_is_an_error_that_names_the_stage(
    every, make_stage, images_and_labels, tmp_path
):
    images, labels = images_and_labels
    images = images.copy()
    images[6] = np.nan
    with pytest.raises(RuntimeError, match="fine_tuning: the loss became nan") as caught:
        train(
            make_stage(),
            lambda start: tf.data.Dataset.from_tensor_slices((images[start:], labels[start:])),
            tmp_path,
            every=every,
        )
    assert "\n" not in str(caught.value)
    assert "learning rate" in str(caught.value)
    newest = tf.train.latest_checkpoint(str(tmp_path / "checkpoints"))
    assert newest.endswith("ckpt-6" if every == 1 else "ckpt-4")
    found = newest_values(tmp_path)
    assert len(found) > 10
    assert all(np.isfinite(value).all() for value in found)


def test_a_step_that_breaks_the_weights_is_never_saved(make_stage, batches, tmp_path):
    with pytest.raises(RuntimeError, match="fine_tuning"):
        train(make_stage(rate=3e38, decay=1e3), batches, tmp_path)
    if tf.train.latest_checkpoint(str(tmp_path / "checkpoints")):
        assert all(np.isfinite(value).all() for value in newest_values(tmp_path))


def test_what_a_kill_left_half_written_is_removed(make_stage, batches, tmp_path):
    stale = tmp_path / "checkpoints" / "ckpt-3_temp"
    stale.mkdir(parents=True)
    (stale / "part-00000-of-00001.data").write_bytes(b"half")
    train(make_stage(), batches, tmp_path)
    assert not list((tmp_path / "checkpoints").glob("*_temp"))


def test_two_checkpoints_are_kept(make_stage, batches, tmp_path):
    train(make_stage(), batches, tmp_path, every=1)
    kept = sorted(path.name for path in (tmp_path / "checkpoints").glob("*.index"))
    assert kept == ["ckpt-11.index", "ckpt-12.index"]


def test_another_stages_checkpoint_is_refused(make_stage, make_supernet, batches, tmp_path, capfd, caplog):
    train(make_stage(), batches, tmp_path)
    with pytest.raises(ValueError, match="of another version; remove"):
        train(make_masks(make_supernet()), batches, tmp_path)
    gc.collect()
    # TensorFlow would have a line for each variable when the checkpoint is let go.
    assert "restored object" not in capfd.readouterr().err + caplog.text


def make_masks(supernet) -> MaskSearch:
    return MaskSearch(
        supernet,
        weight_mask_optimizer=keras.optimizers.Adam(2e-3),
        architecture_mask_optimizer=keras.optimizers.Adam(1e-3),
        operation_price=0.01,
    )


def bilevel(batches):
    return lambda start: tf.data.Dataset.zip(batches(start), batches(start).map(lambda x, y: (-x, y)))


@pytest.mark.parametrize("kind", ["supernet training", "mask search"])
def test_stages_with_two_optimizers_resume_with_both(
    kind, make_supernet, make_training, batches, tmp_path, bitwise_equal
):
    if kind == "mask search":
        stage, data = make_masks(make_supernet()), batches
    else:
        stage, data = make_training(make_supernet(), np.arange(TOTAL) % 3 != 1), bilevel(batches)
    variables = [*stage.variables]
    for owner in (*stage.optimizers, *stage.metrics):
        variables += owner.variables
    start = [np.array(variable) for variable in variables]

    def begin_with(values):
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    train(stage, data, tmp_path / "uninterrupted")
    expected = [np.array(variable) for variable in variables]
    assert sum(not np.array_equal(a, b) for a, b in zip(expected, start, strict=True)) > 40
    begin_with(start)
    with pytest.raises(Killed):
        train(stage, data, tmp_path / "killed", At(kill, step=7), every=2)
    begin_with([np.ones_like(value) for value in start])  # only the checkpoint knows
    train(stage, data, tmp_path / "killed", every=2)
    assert bitwise_equal([np.array(variable) for variable in variables], expected)
    assert rows(tmp_path / "killed") == rows(tmp_path / "uninterrupted")
