"""Predicting many files: a bad one is named and skipped, and deep ones are read as the training images were."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from hmnas_tf import command_line
from hmnas_tf import predict as predict_module
from hmnas_tf.console.mistakes import printable
from hmnas_tf.exporters.contract import Labelling
from hmnas_tf.runs import use

RAMP = np.linspace(0, 1, 64).reshape(8, 8)


class Mean:
    """A network whose logits are the mean of its pixels, and none."""

    def __init__(self, labelling):
        self.labelling = labelling.to_json()

    def predict(self, images):
        mean = images.mean(axis=(1, 2, 3))
        return np.stack([mean, np.zeros_like(mean)], -1)


@pytest.fixture
def predict(monkeypatch):
    def outcomes(files, **labelling):
        network = Mean(Labelling(("a", "b"), (0.0,), (1.0,), (8, 8, 1), **labelling))
        monkeypatch.setattr(use, "artifact_path", lambda *_: None)
        monkeypatch.setattr(use.keras_file, "load", lambda _: network)
        lines: list[str] = []
        return dict(use.predictions("run", {}, files, lines.append)), lines

    return outcomes


def save(path, highest, kind=np.uint16):
    Image.fromarray(np.round(RAMP * highest).astype(kind)).save(path)
    return path


def test_deep_files_are_read_by_the_white_of_training(predict, tmp_path):
    light, shallow = save(tmp_path / "12.png", 4095), save(tmp_path / "8.png", 255, np.uint8)
    found, lines = predict([light, shallow], white=4095)
    assert found[light]["a"] == pytest.approx(found[shallow]["a"], abs=1e-3)
    assert lines == []


def test_what_looks_dark_is_told_once_and_what_is_too_bright_is_refused(predict, tmp_path):
    files = [save(tmp_path / f"{number}.png", 4095) for number in range(2)]
    found, lines = predict(files)
    assert len(found) == 2
    assert [line.split(" has ")[0] for line in lines] == [f"Notice: {files[0]}"]
    found, _ = predict([save(tmp_path / "full.png", 65535), files[0]], white=4095)
    assert "end at 4095" in str(found[tmp_path / "full.png"])
    assert set(found[files[0]]) == {"a", "b"}


def test_one_bad_file_does_not_end_the_others_and_the_end_says_so(predict, tmp_path, capsys):
    good = [save(tmp_path / f"{number}.png", 255, np.uint8) for number in range(3)]
    (tmp_path / "1.png").write_bytes(b"broken")
    found, _ = predict(good)
    assert command_line.show("predict", found.items(), lambda file, _: str(file), many=True) == 2
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [str(good[0]), str(good[2])]
    assert "1.png as an image" in printed.err.splitlines()[0]
    assert printed.err.splitlines()[1].endswith("1 of 3 went wrong and are named above; the others are done.")
    found.pop(good[1])
    assert command_line.show("predict", found.items(), lambda file, _: str(file), many=True) == 0


def test_names_of_files_that_are_no_text_can_be_shown():
    assert printable("K\udce4fer.png").encode("utf-8") == b"K\\udce4fer.png"
    assert printable("Käfer 犬") == "Käfer 犬"


def test_a_name_with_line_ends_and_tabs_stays_in_its_line_and_field(monkeypatch):
    monkeypatch.setattr(predict_module, "FLAGS", SimpleNamespace(top=1))
    shown = predict_module.line(Path("a\nb\tc\r\u2028 d\\n.png"), {"cat": 0.25, "dog": 0.75})
    assert shown == "a\\nb\\tc\\r\\u2028 d\\n.png\tdog\t0.7500"


def test_a_square_is_resized_before_its_middle_is_taken(predict, tmp_path):
    """White all around: what is left of it is what the middle of 10 x 10 pixels has."""
    values = np.full((20, 24), 255, np.uint8)
    values[1:-1, 3:-3] = 0
    Image.fromarray(values).save(tmp_path / "framed.png")
    files = [tmp_path / "framed.png"]
    whole, middle = predict(files)[0][files[0]]["a"], predict(files, resized=10)[0][files[0]]["a"]
    assert whole > 0.51
    assert middle == pytest.approx(0.5, abs=1e-6)


def test_the_white_travels_only_where_it_is_special():
    plain = Labelling(("a", "b"), (0.0,), (1.0,), (8, 8, 1))
    special = Labelling(("a", "b"), (0.0,), (1.0,), (8, 8, 1), 4095)
    assert "white" not in {**json.loads(plain.to_json()), **plain.to_strings()}
    assert json.loads(special.to_json())["white"] == json.loads(special.to_strings()["white"]) == 4095
    assert "resized" not in {**json.loads(plain.to_json()), **plain.to_strings()}
    cut = Labelling(("a", "b"), (0.0,), (1.0,), (8, 8, 1), resized=10)
    assert json.loads(cut.to_json())["resized"] == json.loads(cut.to_strings()["resized"]) == 10
