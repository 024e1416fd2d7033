"""Labels of arrays that are not 0..K-1: classes with a notice, or a line that says how to number them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmnas_tf.data.labels import read_labels

PLACES = np.arange(30) % 3


def read(labels, class_names=None):
    labels = np.asarray(labels)
    return read_labels(labels, labels[:6], class_names, "set.npz")


@pytest.mark.parametrize(
    "values",
    [
        [4006381333931, 4006381333948, 5449000000996],
        [1, 2, 3],
        [0, 1, 3],
        [20240131, 20240201, 20241231],
        np.array([1, 2, 2**64 - 1], np.uint64),
    ],
    ids=str,
)
def test_other_numbers_are_classes_in_their_order(values):
    labels = read(np.asarray(values)[PLACES])
    assert labels.class_names == tuple(str(int(value)) for value in values)
    assert labels.y_train.tolist() == PLACES.tolist()
    assert labels.y_test.tolist() == PLACES[:6].tolist()
    assert len(labels.notices) == 1
    assert f"from {values[0]} to {values[2]}" in labels.notices[0]


def test_numbers_from_zero_stay_as_they_are():
    labels = read(PLACES.astype(np.uint8))
    assert (labels.class_names, labels.notices, labels.y_train.dtype) == (("0", "1", "2"), (), np.uint8)


def test_strings_that_look_alike_are_one_class():
    words = np.array(["Käfer", "Ka\u0308fer", "bee\n"])[PLACES]
    labels = read(words)
    assert labels.class_names == ("Käfer", "bee")
    assert labels.y_train.tolist() == [[0, 0, 1][place] for place in PLACES]
    assert "white space" in labels.notices[0]
    assert read(words, ["bee", "Ka\u0308fer"]).y_train[:3].tolist() == [1, 1, 0]


def test_the_kind_that_numpy_has_for_strings_is_read():
    labels = read(np.array(["bee", "ant", "Käfer"], np.dtypes.StringDType())[PLACES])
    assert labels.class_names == ("Käfer", "ant", "bee")
    assert labels.y_train[:3].tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (PLACES - 1, "got -1..1; negative ones often mark images without a label.*searchsorted"),
        (np.arange(30) * 7, "30 different labels for 30 images.*searchsorted"),
        (np.arange(30).astype(str), "30 different labels for 30 images"),
        (PLACES + 0.5, "must be whole numbers or strings.*searchsorted"),
        (PLACES.astype(float), "astype"),
        (PLACES == 1, "got bool.*astype"),
        (np.array(["2024-01-31", "2024-02-01"], "M8[D]")[PLACES % 2], "datetime64.*searchsorted"),
        (np.array([b"K\xe4fer", b"bee"])[PLACES % 2], "no UTF-8.*latin-1"),
        (np.array(["a", None, 3], object)[PLACES], "10 of 30 labels are missing"),
        (np.array(["a", object(), 3], object)[PLACES], "got object.*searchsorted"),
        (np.full(30, np.nan), r"30 of 30 labels are missing \(None or NaN\)"),
        (
            np.array(["a", np.nan, "b"], object)[PLACES],
            "10 of 30 labels are missing.* first that of image 1; leave",
        ),
        (
            np.array(["a", np.nan, "b"], np.dtypes.StringDType(na_object=np.nan))[PLACES],
            "10 of 30 .* missing",
        ),
        (np.zeros(0, int), "hold nothing"),
    ],
)
def test_what_is_no_class_is_refused_with_how_to_number(labels, words):
    with pytest.raises(ValueError, match=words) as caught:
        read(labels)
    assert "\n" not in str(caught.value)
    assert "y_train" in str(caught.value)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=40))
def test_any_whole_numbers_are_read_or_refused(values):
    array = np.array(values, np.int64)
    try:
        labels = read_labels(array, array, None, "set.npz")
    except ValueError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert [int(labels.class_names[place]) for place in labels.y_train.tolist()] == values
