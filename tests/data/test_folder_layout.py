"""Folders as people have them: sides by any of their names, one class written in two ways, and nothing lost unsaid."""

from __future__ import annotations

import os
import unicodedata

import numpy as np
import pytest
from PIL import Image

from hmnas_tf.data import load_dataset
from hmnas_tf.data.folder_layout import find_files

RNG = np.random.default_rng(6)


def fill(folder, classes=("ant", "bee"), count=2):
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            pixels = RNG.integers(0, 256, (8, 8, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    return folder


def load(root, **settings):
    return load_dataset(f"folder:{root}", **settings)


@pytest.mark.parametrize(
    ("train", "test"), [("train", "test"), ("Train", "TEST"), ("training", "testing"), ("TRAINING", "Test")]
)
def test_sides_go_by_several_names_in_any_case(train, test, tmp_path):
    fill(tmp_path / train, count=3)
    fill(tmp_path / test)
    dataset = load(tmp_path)
    assert (len(dataset.x_train), len(dataset.x_test), dataset.notices) == (6, 4, ())


@pytest.mark.parametrize("name", ["val", "valid", "Validation", "VAL"])
def test_a_third_side_is_told_with_its_number_and_what_becomes_of_it(name, tmp_path):
    for side in ("train", "test", name):
        fill(tmp_path / side)
    dataset = load(tmp_path)
    assert len(dataset.x_train) == 4
    assert f"{name} (4 files) is not used" in dataset.notices[0]
    assert "--holdout" in dataset.notices[0]


@pytest.mark.parametrize("sides", [("train", "test", "val"), ("Training", "Validation")])
def test_a_validation_side_is_what_a_holdout_holds_out(sides, tmp_path):
    for count, side in enumerate(sides, 2):
        fill(tmp_path / side, count=count)
    plain, held = load(tmp_path), load(tmp_path, holdout=0.4)
    assert (plain.held_out, held.held_out) == (False, True)
    np.testing.assert_array_equal(held.x_train, plain.x_train)  # whole, in the same order
    assert len(held.x_test) == 2 * (1 + len(sides))
    shown = [np.asarray(Image.open(file)).tobytes() for file in tmp_path.glob(f"{sides[-1]}/*/*.png")]
    assert sorted(shown) == sorted(image.tobytes() for image in held.x_test)
    assert f"{sides[-1]} ({2 + 2 * len(sides)} files) is what --holdout holds out" in held.notices[0]
    assert (held.version == plain.version) == (len(sides) == 2)


def test_a_share_is_held_out_where_there_is_no_validation_side(tmp_path):
    for side in ("train", "test"):
        fill(tmp_path / side, count=5)
    held = load(tmp_path, holdout=0.4)
    assert (len(held.x_train), len(held.x_test), held.held_out) == (6, 4, True)


def test_a_validation_side_is_read_only_where_it_is_asked_for(tmp_path):
    for side in ("train", "test", "val"):
        fill(tmp_path / side)
    fill(tmp_path / "val", ["owl"])
    assert load(tmp_path).class_names == ("ant", "bee")
    with pytest.raises(ValueError, match="val/owl has no counterpart in .*train"):
        load(tmp_path, holdout=0.2)


@pytest.mark.parametrize("name", ["val", "valid", "Validation"])
def test_without_a_test_side_validation_is_tested_on(name, tmp_path):
    fill(tmp_path / "train", count=3)
    fill(tmp_path / name)
    dataset = load(tmp_path)
    assert len(dataset.x_test) == 4
    assert f"has no test/: the images of {name}/" in dataset.notices[0]


def test_what_lies_beside_the_sides_is_counted(tmp_path):
    for side in ("train", "test"):
        fill(tmp_path / side)
    fill(tmp_path, ["cat"], 7)
    (tmp_path / "labels.csv").write_text("a,b")
    assert load(tmp_path).notices == (
        f"{tmp_path}: 2 left out beside test/, train/: cat/ (7 files), labels.csv",
    )


def test_what_lies_beside_the_classes_is_counted(tmp_path):
    fill(tmp_path)
    for index in range(9):
        (tmp_path / f"IMG_{index}.heic").write_bytes(b"0")
    notice = (
        f"{tmp_path}: 9 left out beside the class folders: IMG_0.heic, IMG_1.heic, IMG_2.heic, IMG_3.heic"
    )
    assert load(tmp_path).notices == (f"{notice}, IMG_4.heic and 4 more",)


def test_all_files_that_cannot_be_read_are_told_at_once(tmp_path):
    fill(tmp_path)
    for index in range(3):
        (tmp_path / "bee" / f"{index}.heic").write_bytes(b"0" * 9)
    with pytest.raises(ValueError, match="none of BMP.*so with 2 more of 7 files: .*heic, .*heic$") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def forms(*names):
    return [unicodedata.normalize(form, "Käfer") if form.startswith("NF") else form for form in names]


def test_one_class_may_be_written_in_two_ways(tmp_path):
    fill(tmp_path / "split" / "train", forms("NFC", "bee"), 3)
    fill(tmp_path / "split" / "test", forms("NFD", "bee"))
    dataset = load(tmp_path / "split")
    assert dataset.class_names == ("Käfer", "bee")
    assert (len(dataset.x_train), len(dataset.x_test), dataset.notices) == (6, 4, ())
    fill(tmp_path / "one", forms("NFC", "NFD", "bee"), 5)
    dataset = load(tmp_path / "one")
    assert dataset.class_names == ("Käfer", "bee")
    assert np.bincount(dataset.y_train).tolist() == [8, 4]
    assert "they are one class, 'Käfer'" in dataset.notices[0]


def test_a_name_that_is_no_text_is_refused_before_files_are_read(tmp_path):
    fill(tmp_path)
    os.rename(tmp_path / "ant", os.fsencode(tmp_path / "K") + b"\xe4fer")
    (tmp_path / "bee" / "0.png").write_bytes(b"never read")
    with pytest.raises(ValueError, match="name of class 0 is not valid UTF-8.*rename the class"):
        load(tmp_path)


def two_for_one_side(root):
    for side in ("train", "Training", "test"):
        fill(root / side)


def only_test_and_validation(root):
    for side in ("test", "val"):
        fill(root / side)


def sides_without_classes(root):
    fill(root, ["train", "test"])


def one_folder_too_high(root):
    for side in ("train", "test"):
        fill(root / "archive" / side)


def unknown_sides(root):
    for side in ("train_images", "test_images"):
        fill(root / side)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (two_for_one_side, "are one side of the set twice"),
        (only_test_and_validation, "has only test/, val/ with classes in it; it needs both train/ and test/"),
        (sides_without_classes, "lies? beside the class folders|lie beside the class folders"),
        (one_folder_too_high, "it has only archive/; did you mean .*/archive\\?"),
        (unknown_sides, "is one side of a split set, name the sides train/ and test/"),
    ],
)
def test_what_cannot_be_understood_is_told(build, message, tmp_path):
    build(tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_what_systems_leave_among_pictures_is_no_data(tmp_path):
    fill(tmp_path)
    for place in (tmp_path, tmp_path / "ant"):
        for name in ("Icon\r", "Thumbs.db", "ehthumbs.db", "Picasa.ini", "._0.png", ".DS_Store"):
            (place / name).write_bytes(b"")
    assert load(tmp_path).notices == ()


def test_a_class_may_be_called_train(tmp_path):
    fill(tmp_path, ["bus", "train", "plane"])
    assert find_files(tmp_path).class_names == ("bus", "plane", "train")
