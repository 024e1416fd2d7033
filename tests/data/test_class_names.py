"""Names of classes: alike from every source, cleaned or refused before anything is read or trained."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmnas_tf.data import ImageDataset, dataset_from
from hmnas_tf.data.class_names import check_names, clean_name
from hmnas_tf.exporters.contract import Labelling

X = np.arange(6 * 4 * 4, dtype=np.uint8).reshape(6, 4, 4, 1)
Y = np.arange(6) % 3


def of_a_program(names) -> ImageDataset:
    return ImageDataset("toy", "1", X, Y, X, Y, tuple(names), ())


@pytest.mark.parametrize(
    ("names", "clean"),
    [
        (["cat\n", "dog\r\n", "owl"], ("cat", "dog", "owl")),
        (["\tcat", " dog ", "\ufeffowl"], ("cat", "dog", "owl")),
        ([b"cat", b"K\xc3\xa4fer ", "a b"], ("cat", "Käfer", "a b")),
    ],
)
def test_white_space_is_left_out_with_a_notice(names, clean):
    dataset = of_a_program(names)
    assert dataset.class_names == clean
    assert len(dataset.notices) == 1
    assert "white space around" in dataset.notices[0]
    arrays = dataset_from(((X, Y), (X, Y)), class_names=names)
    assert (arrays.class_names, len(arrays.notices)) == (clean, 1)


def test_accents_are_composed_without_a_word():
    dataset = of_a_program(["Ka\u0308fer", "dog", "owl"])
    assert (dataset.class_names[0], dataset.notices) == ("Käfer", ())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "class 1 is empty"),
        (" \n", "class 1 is empty"),
        ("a\nb", r"holds the character '\\n'"),
        ("a\tb", r"holds the character '\\t'"),
        ("a\u2028b", r"holds the character '\\u2028'"),
        ("a\0b", r"holds the character '\\x00'"),
        ("K\udce4fer", "is not valid UTF-8"),
        ("x" * 256, "has 256 characters"),
        ("cat", "2 classes have the name 'cat', those of labels 0, 1"),
        ("cat ", "2 classes have the name 'cat'"),
        (b"K\xe4fer", "no UTF-8"),
    ],
)
def test_what_no_list_or_artifact_holds_is_refused(name, words):
    for make in (of_a_program, lambda names: dataset_from(((X, Y), (X, Y)), class_names=names)):
        with pytest.raises(ValueError, match=words) as caught:
            make(["cat", name, "owl"])
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("abc", "in the order of the labels, got a str; list them"),
        ({0: "cat", 1: "dog", 2: "owl"}, r"got a dict; of a dictionary by label: \[names\[label\]"),
        ({"cat", "dog", "owl"}, "got a set"),
        (3, "got a int"),
        (["cat", None, "owl"], "got a NoneType for class 1"),
        (["cat", "dog", float("nan")], "got a float for class 2: nan"),
        ([["cat"], ["dog"], ["owl"]], "got a list for class 0"),
        (np.array([["cat"], ["dog"], ["owl"]]), "got a ndarray for class 0"),
    ],
)
def test_what_is_no_list_of_names_is_refused(names, words):
    for make in (
        lambda: ImageDataset("toy", "1", X, Y, X, Y, names, ()),
        lambda: dataset_from(((X, Y), (X, Y)), class_names=names),
    ):
        with pytest.raises(ValueError, match=words) as caught:
            make()
        assert "\n" not in str(caught.value)


def test_lists_of_any_kind_are_names():
    for names in (np.array(["7", "8", "9"]), [7, np.int64(8), b"9"], (str(name) for name in (7, 8, 9))):
        assert dataset_from(((X, Y), (X, Y)), class_names=names).class_names == ("7", "8", "9")


@given(st.text(max_size=20))
def test_a_name_is_a_line_that_every_format_holds_or_refused(text):
    name = clean_name(text)
    assert clean_name(name) == name
    try:
        check_names([name, "another name"], "here")
    except ValueError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert (name + "\n").encode("utf-8").decode("utf-8").splitlines() == [name]
        Labelling((name, "another name"), (0.5,), (1.0,), (4, 4, 1))
