"""Keras callbacks of a program end the stages of a search; what is wrong with them is told before anything is made."""

from __future__ import annotations

import csv

import keras
import pytest

import hmnas_tf

pytestmark = pytest.mark.slow


class AfterOne(keras.callbacks.Callback):
    """Ends the stage with its first epoch."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = True


def test_a_search_whose_stages_are_ended_is_whole(patterns, make_config, tmp_path):
    lines: list[str] = []
    config = make_config(supernet_epochs=3, warmup_epochs=0)
    result = hmnas_tf.search(patterns, config, tmp_path / "run", lines.append, callbacks=[AfterOne])
    assert {name: entry["epochs"] for name, entry in result.results["stages"].items()} == {
        "supernet": 1,
        "searched": 1,
        "finetuned": 1,
    }
    with (tmp_path / "run" / "metrics.csv").open(newline="", encoding="utf-8") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "1", "1"]
    assert (tmp_path / "run" / "report.html").exists()
    assert not [line for line in lines if "none of the last" in line], "that is said of patience"


def test_what_is_wrong_is_told_first(patterns, make_config, tmp_path):
    lines: list[str] = []
    with pytest.raises(
        ValueError, match="^callbacks: there is no stage 'fine-tuning': expected some of supernet"
    ):
        hmnas_tf.search(
            patterns, make_config(), tmp_path / "run", lines.append, callbacks={"fine-tuning": [AfterOne]}
        )
    assert not lines
    assert not (tmp_path / "run").exists()
