"""What is odd about images is said once, with numbers: leaks by content, contradictions, classes without images."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hmnas_tf.config import Config
from hmnas_tf.data import ImageDataset
from hmnas_tf.data.notices import oddities
from hmnas_tf.runs.preflight import named

X = np.random.default_rng(8).integers(0, 256, (40, 4, 4, 3)).astype(np.uint8)
Y = np.arange(40) % 4
SOUND = ImageDataset("toy", "1", X[:28], Y[:28], X[28:], Y[28:], tuple("abcd"), ())


def test_nothing_is_said_of_sound_images():
    assert oddities(SOUND) == []


def test_test_images_that_were_trained_on_are_counted():
    copied = dataclasses.replace(SOUND, x_test=X[:12].copy(), y_test=Y[:12])
    assert oddities(copied)[0].startswith("12 of 12 test images are training images too")
    one = dataclasses.replace(SOUND, x_test=np.concatenate([X[:1], X[29:]]))
    assert oddities(one)[0].startswith("1 of 12 test images is training images too")


def test_one_image_in_two_classes_is_counted():
    labels = Y[:28].copy()
    images = X[:28].copy()
    images[1], images[6] = images[0], images[4]  # 'a' and 'b', 'a' and 'c'
    lines = oddities(dataclasses.replace(SOUND, x_train=images, y_train=labels))
    assert lines == [
        "2 images are in more than one class, one of them in 'a' and 'b': no network can be right about both"
    ]


def test_classes_without_images_are_named():
    lines = oddities(dataclasses.replace(SOUND, class_names=(*"abcd", "owl")))
    assert lines == ["1 of 5 classes have no train image: 'owl'", "1 of 5 classes have no test image: 'owl'"]


@pytest.mark.parametrize(("small", "told"), [(3, False), (2, True), (0, False)])
def test_a_class_of_which_another_has_ten_times_the_images_is_told(small, told):
    labels = np.repeat([0, 1, 2], [28 - 5 - small, 5, small])  # 20, 5, 3 or 21, 5, 2
    lines = oddities(
        dataclasses.replace(
            SOUND, y_train=labels.astype(np.int32), y_test=Y[28:] % 3, class_names=tuple("abc")
        )
    )
    uneven = [line for line in lines if "--class_weights=balanced" in line]
    assert uneven == (
        [
            "class 'a' has 21 training images, class 'c' 2: a network may be right by leaving out what is rare; "
            "--class_weights=balanced lets all classes count alike, and macro F1 tells more than the test error"
        ]
        if told
        else []
    )


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["Cat", "cat"], "'Cat' and 'cat' look alike: if"),
        (["hot dog", "hot_dog"], "'hot dog' and 'hot_dog'"),
        (["cat", "ca\u200bt"], r"'cat' and 'ca\u200bt'"),
        (["hot dog", "hot\xa0dog"], r"'hot dog' and 'hot\xa0dog'"),
        (["fish", "\ufb01sh"], "'fish' and"),
        (["a", "A", "b", "B"], "'a' and 'A' look alike, and so with 1 more"),
        (["A", "A-"], ""),
        (["-1", "1"], ""),
        (["犬", "猫"], ""),
    ],
)
def test_names_that_look_alike_are_told(names, words):
    lines = oddities(dataclasses.replace(SOUND, class_names=(*names, "x", "y", "z")[: max(4, len(names))]))
    assert bool(lines) == bool(words)
    assert not words or words in lines[0]


def test_images_that_are_nearly_black_are_told():
    images = X // 16
    dark = dataclasses.replace(SOUND, x_train=images[:28], x_test=X[28:] // 128)
    assert oddities(dark) == [
        "no train image has a pixel above 15 of 255, so that all are nearly black; if 15 is white, multiply them by 17",
        "no test image has a pixel above 1 of 255, so that all are nearly black; if 1 is white, multiply them by 255",
    ]


def test_a_search_says_them_once_for_a_set():
    odd = dataclasses.replace(SOUND, x_test=X[:12], y_test=Y[:12], notices=("valid/ is not used",))
    lines: list[str] = []
    for _ in range(2):
        named(odd, Config(), lines.append)
    assert [line.split(" ")[:2] for line in lines] == [["Notice:", "valid/"], ["Notice:", "12"]]
