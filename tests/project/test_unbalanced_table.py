"""The table of an unbalanced folder: the pictures it draws, and what it makes of searches."""

from __future__ import annotations

import collections
import struct

import numpy as np
import unbalanced_table
from PIL import Image
from unbalanced_table import make_folder, table


def write_idx(path, values: np.ndarray) -> None:
    head = struct.pack(f">4B{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    path.write_bytes(head + values.tobytes())


def test_a_folder_has_as_many_pictures_of_each_class_as_are_asked_for_and_is_made_once(tmp_path, monkeypatch):
    monkeypatch.setattr(unbalanced_table, "TRAINED", {"pullover": (2, 3), "shirt": (6, 1)})
    monkeypatch.setattr(unbalanced_table, "TESTED", 2)
    monkeypatch.setattr(unbalanced_table, "ENDING", "")
    for word in ("train", "t10k"):
        labels = np.arange(50) % 10
        images = np.broadcast_to(labels[:, None, None], (50, 28, 28)).astype(np.uint8)
        write_idx(tmp_path / f"{word}-images-idx3-ubyte", images)
        write_idx(tmp_path / f"{word}-labels-idx1-ubyte", labels.astype(np.uint8))
    (tmp_path / ".pictures" / "train" / "left by a kill").mkdir(parents=True)
    root = make_folder(tmp_path / "pictures", tmp_path, 0)
    counts: collections.Counter = collections.Counter()
    for file in root.rglob("*.png"):
        side, name = file.parts[-3:-1]
        counts[side, name] += 1
        assert np.asarray(Image.open(file)).max() == {"pullover": 2, "shirt": 6}[name]
    assert counts == {
        ("train", "pullover"): 3,
        ("train", "shirt"): 1,
        ("test", "pullover"): 2,
        ("test", "shirt"): 2,
    }
    before = sorted(path.name for path in root.rglob("*"))
    assert sorted(path.name for path in make_folder(root, tmp_path / "gone", 1).rglob("*")) == before
    assert "left by a kill" not in before


def test_differences_are_taken_seed_by_seed():
    rows = [
        {"class_weights": weighting, "seed": seed, "error": 20.0, "macro F1": f1, "shirt": recall}
        for weighting, seed, f1, recall in (
            ("none", 0, 50.0, 0.0),
            ("balanced", 0, 60.0, 40.0),
            ("none", 1, 80.0, 10.0),
            ("balanced", 1, 86.0, 30.0),
        )
    ]
    none, balanced, difference = table(rows)
    assert none == {
        "class_weights": "`none`",
        "seeds": 2,
        "test error %": "20.00 ± 0.00",
        "macro F1 %": "65.00 ± 15.00",
        "recall of shirt (10 pictures) %": "5.00 ± 5.00",
    }
    assert balanced["macro F1 %"] == "73.00 ± 13.00"
    assert difference["macro F1 %"] == "8.00 ± 2.00"
    assert difference["recall of shirt (10 pictures) %"] == "30.00 ± 10.00"
