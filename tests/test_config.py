"""Settings: every range, every contradiction, and that a message names what to change."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from hmnas_tf.config import Config
from hmnas_tf.settings.paper import MASK_INITIAL, MASK_THRESHOLD, PAPER_OPERATIONS

FIELDS = dataclasses.fields(Config)
RANGED = [
    field for field in FIELDS if field.metadata["low"] is not None or field.metadata["high"] is not None
]
WHOLE = [field for field in RANGED if type(field.default) is int]
COMPANIONS = {  # what must change as well for an extreme value to contradict nothing else
    ("supernet_epochs", 1): {"warmup_epochs": 0},
}
CONTRADICTING = {("threshold", 1)}  # within its range, but above where masks start


def message_of(**settings) -> str:
    with pytest.raises(ValueError) as caught:
        Config(**settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_defaults_are_the_papers_cifar10_settings():
    """Section 4.2, spelled out a second time."""
    config = Config()
    assert (config.cells, config.initial_channels, config.nodes) == (3, 36, 4)
    assert (config.supernet_epochs, config.warmup_epochs, config.mask_epochs, config.finetune_epochs) == (
        100,
        10,
        20,
        200,
    )
    assert (config.batch_size, config.validation_fraction) == (128, 0.2)
    assert (config.weight_learning_rate, config.weight_momentum, config.weight_decay) == (0.1, 0.9, 3e-4)
    assert (config.architecture_learning_rate, config.architecture_decay) == (3e-4, 1e-3)
    assert (config.architecture_beta_1, config.architecture_beta_2) == (0.5, 0.999)
    assert (config.weight_mask_rate, config.architecture_mask_rate) == (1e-4, 1e-5)
    assert (config.threshold, MASK_THRESHOLD, MASK_INITIAL) == (5e-3, 5e-3, 1e-2)
    assert set(PAPER_OPERATIONS) == set(config.operations)
    assert len(PAPER_OPERATIONS) == 7
    assert "none" not in PAPER_OPERATIONS


def test_settings_cannot_be_changed_in_passing():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().cells = 5
    with pytest.raises(TypeError):
        Config("cifar10")


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_help_is_one_sentence_that_fits_a_flag(field):
    text = field.metadata["help"]
    assert text.endswith(".")
    assert "\n" not in text
    assert 10 < len(text) <= 120


@pytest.mark.parametrize("field", RANGED, ids=lambda field: field.name)
@pytest.mark.parametrize("end", ["low", "high"])
def test_ends_of_a_range_are_accepted_and_what_lies_beyond_is_not(field, end):
    limit = field.metadata[end]
    if limit is None:
        large = 10**6  # no upper end: accepted, save that channels are even and a warm-up is shorter
        random = {"initial_weights": "random"}
        more = {
            "warmup_epochs": {"supernet_epochs": large + 1},
            "evaluation_cells": random,
            "evaluation_channels": random,
            "partial_channels": {"initial_channels": 2 * large},
            "finetune_warmup_epochs": {"finetune_epochs": large + 1},
            "patience": {"keep": "best", "holdout": 0.2},
        }.get(field.name, {})
        assert getattr(Config(**{field.name: large} | more), field.name) == large
        return
    if (field.name, limit) not in CONTRADICTING:
        settings = {field.name: limit} | COMPANIONS.get((field.name, limit), {})
        assert getattr(Config(**settings), field.name) == limit
    step = (1 if end == "high" else -1) * (1 if field in WHOLE else 1e-6)
    message = message_of(**{field.name: limit + step})
    assert message.startswith(f"{field.name}={limit + step} is out of range")
    assert str(field.metadata["low"]) in message
    if field.metadata["high"] is not None:
        assert str(field.metadata["high"]) in message


@pytest.mark.parametrize("field", RANGED, ids=lambda field: field.name)
@pytest.mark.parametrize("value", [math.nan, "3", None, True, [1]], ids=str)
def test_what_is_no_number_is_refused_by_name(field, value):
    assert message_of(**{field.name: value}) == f"{field.name}={value!r} is not a number."


@pytest.mark.parametrize("field", WHOLE, ids=lambda field: field.name)
def test_a_fraction_of_a_whole_number_is_refused_by_name(field):
    value = field.default + 2.5
    assert message_of(**{field.name: value}).startswith(f"{field.name}={value}")


@pytest.mark.parametrize("field", RANGED, ids=lambda field: field.name)
def test_infinity_is_refused_by_name(field):
    assert message_of(**{field.name: math.inf}).startswith(f"{field.name}=inf")


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        (dict(warmup_epochs=5, supernet_epochs=5), ("warmup_epochs=5", "supernet_epochs=5", "smaller")),
        (
            dict(operation_gradient="alone", architecture_gradient="second_order"),
            ("operation_gradient='alone'", "architecture_gradient='second_order'", "first_order"),
        ),
        (dict(supernet_epochs=3), ("warmup_epochs=10", "supernet_epochs=3", "smaller")),
        (dict(threshold=1e-2), ("threshold=0.01", "masks start at 0.01", "smaller")),
        (dict(threshold=1), ("threshold=1", "smaller")),
        (dict(initial_channels=7), ("initial_channels=7", "odd", "even")),
        (dict(partial_channels=4), ("initial_channels=36", "partial_channels=4", "a multiple of 8")),
        (dict(partial_channels=5), ("initial_channels=36", "partial_channels=5", "a multiple of 10")),
        (
            dict(partial_channels=2, evaluation_channels=18, initial_weights="random"),
            ("evaluation_channels=18", "partial_channels=2", "a multiple of 4"),
        ),
        (dict(keep="best"), ("keep='best'", "holdout=0", "never on test images", "holdout=0.2")),
        (dict(keep="best", holdout=0.2, evaluate_every=0), ("keep='best'", "evaluate_every=0")),
        (dict(keep="best", holdout=0.2, evaluate_every=201), ("keep='best'", "evaluate_every=201")),
        (dict(patience=3), ("patience=3", "keep='last'", "keep='best'")),
        (dict(finetune_warmup_epochs=200), ("finetune_warmup_epochs=200", "finetune_epochs=200", "smaller")),
        (dict(operations=()), ("operations=''", "at least one")),
        (dict(operations=("identity", "identity")), ("operations='identity,identity'", "different")),
        (dict(formats=()), ("formats=''", "at least one")),
        (dict(formats=("keras", "onnx", "keras")), ("formats='keras,onnx,keras'", "different")),
        (dict(augmentation=()), ("augmentation=''", "at least one")),
        (dict(augmentation=("flip", "flip")), ("augmentation='flip,flip'", "different")),
    ],
    ids=str,
)
def test_contradictions_are_refused_with_a_remedy(settings, parts):
    message = message_of(**settings)
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    "settings",
    [
        dict(warmup_epochs=4, supernet_epochs=5),
        dict(threshold=0.0099),
        dict(threshold=0),
        dict(initial_channels=2),
        dict(initial_channels=12, partial_channels=6),
        dict(keep="best", holdout=0.1, patience=1),
        dict(finetune_warmup_epochs=1, finetune_epochs=2),
        dict(finetune_warmup_epochs=3, finetune_epochs=0),
    ],
    ids=str,
)
def test_what_only_just_fits_is_accepted(settings):
    for name, value in settings.items():
        assert getattr(Config(**settings), name) == value


def test_settings_are_written_as_json_and_come_back():
    config = Config(cells=5, operations=("identity", "none"), mixed_precision=True)
    data = json.loads(json.dumps(config.to_dict(), allow_nan=False))
    assert data["operations"] == ["identity", "none"]
    assert set(data) == {field.name for field in FIELDS}
    assert Config(**{k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}) == config


def test_augmentations_are_those_asked_for_or_what_suits_the_images():
    suitable = ("crop", "cutout")
    assert Config().augmentations(suitable) == suitable
    assert Config(augmentation=("none",)).augmentations(suitable) == ()
    assert Config(augmentation=("flip", "mixup")).augmentations(suitable) == ("flip", "mixup")
