"""Confusion counted by hand, mistakes in order, images that can be read back."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from hmnas_tf.reporting.judgement import THUMBNAIL, Judgement, thumbnail

LABELS = np.array([0, 0, 1, 2, 2])
LOGITS = np.log([[0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1], [0.9, 0.05, 0.05], [0.3, 0.4, 0.3]])


def judged(*borders: int) -> Judgement:
    return Judgement.of(np.zeros((5, 4, 4, 1), np.uint8), LABELS, np.split(LOGITS, borders), 3)


@pytest.mark.parametrize("borders", [(), (2,), (1, 4)])
def test_likeliest_classes_are_found_in_any_parts(borders):
    found = judged(*borders)
    assert found.predicted.tolist() == [0, 1, 1, 0, 1]
    np.testing.assert_allclose(found.probabilities, [0.6, 0.8, 0.7, 0.9, 0.4])


def test_confusion_counts_true_by_predicted():
    found = judged()
    assert found.confusion().tolist() == [[1, 1, 0], [0, 1, 0], [1, 1, 0]]
    assert found.wrong() == 3


def test_mistakes_come_the_surest_first():
    assert judged().mistakes(9).tolist() == [3, 1, 4]
    assert judged().mistakes(2).tolist() == [3, 1]


def test_large_logits_do_not_overflow():
    found = Judgement.of(
        np.zeros((1, 4, 4, 1), np.uint8), LABELS[:1], [np.array([[9e4, 0.0]], np.float32)], 2
    )
    assert found.probabilities.tolist() == [1.0]


@pytest.mark.parametrize("channels, mode", [(1, "L"), (2, "L"), (3, "RGB"), (4, "L")])
def test_a_thumbnail_shows_the_pixels(channels, mode):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, channels), np.uint8)
    kind, data = thumbnail(image).split(",")
    assert kind == "data:image/png;base64"
    shown = Image.open(io.BytesIO(base64.b64decode(data)))
    assert shown.mode == mode
    expected = image if mode == "RGB" else image[..., 0]
    np.testing.assert_array_equal(np.asarray(shown), expected)


def test_a_large_image_is_made_small_in_its_proportions():
    data = thumbnail(np.zeros((200, 400, 3), np.uint8)).split(",")[1]
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (THUMBNAIL, THUMBNAIL // 2)
