"""Random resized crops and colour jitter, against torchvision's algorithm in NumPy and against Pillow."""

from __future__ import annotations

import colorsys
import math

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance

from hmnas_tf.data import augment_and_normalise
from hmnas_tf.data import torchvision_augmentation as torchvision
from hmnas_tf.data.resizing import crop_and_resize

SEED = tf.constant([3, 14], tf.int64)


def images(count: int, height: int, width: int, channels: int = 3) -> np.ndarray:
    """Soft patterns, as photographs are: noise that was enlarged."""
    small = np.random.default_rng(0).integers(0, 256, (count, 5, 5, channels))
    return np.clip(np.round(tf.image.resize(small, (height, width), "bicubic")), 0, 255).astype(np.uint8)


def drawn_boxes(count: int, height: int, width: int, seed: int) -> np.ndarray:
    """The algorithm of torchvision.transforms.RandomResizedCrop, image by image."""
    random, found = np.random.default_rng(seed), []
    for _ in range(count):
        for _ in range(10):
            area = height * width * random.uniform(0.08, 1.0)
            ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
            columns, rows = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < columns <= width and 0 < rows <= height:
                top, left = random.integers(0, height - rows + 1), random.integers(0, width - columns + 1)
                found.append((top, left, rows, columns))
                break
    return np.array(found)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (40, 56)])
def test_crops_are_distributed_as_those_of_torchvision(height, width):
    count = 6000
    own = np.stack([side.numpy() for side in torchvision.crop_boxes(count, height, width, SEED)], axis=1)
    other = drawn_boxes(count, height, width, 0)
    assert (own[:, :2] >= 0).all()
    assert (own[:, :2] + own[:, 2:] <= (height, width)).all()
    area = own[:, 2] * own[:, 3] / (height * width)
    assert 0.07 < area.min() < 0.1 < 0.95 < area.max() <= 1.0
    for column in range(4):
        for share in (0.1, 0.3, 0.5, 0.7, 0.9):
            both = np.quantile(own[:, column], share), np.quantile(other[:, column], share)
            assert both[0] == pytest.approx(both[1], abs=0.035 * max(height, width)), (column, share)
    assert own[:, 3].mean() == pytest.approx(other[:, 3].mean(), rel=0.02)
    assert (own[:, 0] + own[:, 2] == height).any()  # the last place is drawn, too


def test_what_no_crop_fits_into_gets_the_largest_in_the_middle():
    top, left, rows, columns = (side.numpy() for side in torchvision.crop_boxes(500, 4, 100, SEED))
    fallback = (rows == 4) & (columns == 5) & (top == 0) & (left == 47)
    assert fallback.mean() > 0.3
    top, left, rows, columns = (side.numpy() for side in torchvision.crop_boxes(500, 100, 4, SEED))
    assert ((rows == 5) & (columns == 4) & (top == 47) & (left == 0)).mean() > 0.3


def test_a_crop_is_resized_as_pillow_does_it():
    batch = images(12, 48, 40)
    result = torchvision.random_resized_crop(tf.constant(batch), SEED, 24, 20).numpy()
    assert result.shape == (12, 24, 20, 3)
    boxes = zip(*(side.numpy() for side in torchvision.crop_boxes(12, 48, 40, SEED)), strict=True)
    for image, own, (top, left, rows, columns) in zip(batch, result, boxes, strict=True):
        part = Image.fromarray(image).crop((left, top, left + columns, top + rows))
        expected = np.asarray(part.resize((20, 24), Image.Resampling.BILINEAR)).astype(int)
        assert np.abs(own - expected).max() <= 1


@pytest.mark.parametrize("augmentation", [(), ("flip",)])
def test_larger_images_lose_their_border_where_nothing_crops(augmentation):
    batch = images(6, 18, 18)
    plain = dict(mean=(0.0,) * 3, std=(1 / 255,) * 3)
    cut = augment_and_normalise(batch, SEED, augmentation, size=(16, 16), **plain)
    np.testing.assert_array_equal(
        cut, augment_and_normalise(batch[:, 1:17, 1:17], SEED, augmentation, **plain)
    )
    whole = crop_and_resize(tf.constant(batch), 18).numpy()
    np.testing.assert_array_equal(whole, batch)  # so that a picture of the stored size is what it was


def test_a_random_crop_of_larger_images_has_the_networks_size_wherever_it_stands():
    batch = images(6, 18, 18)
    plain = dict(mean=(0.0,) * 3, std=(1 / 255,) * 3)
    for names in (("random_resized_crop", "flip"), ("color_jitter", "random_resized_crop", "cutout")):
        assert augment_and_normalise(batch, SEED, names, size=(16, 16), **plain).shape == (6, 16, 16, 3)


@pytest.mark.parametrize(
    ("change", "enhance"),
    [
        (torchvision.brightness, ImageEnhance.Brightness),
        (torchvision.contrast, ImageEnhance.Contrast),
        (torchvision.saturation, ImageEnhance.Color),
    ],
)
def test_colours_change_as_pillow_changes_them(change, enhance):
    batch, factors = images(5, 9, 11), np.array([0.6, 0.9, 1.0, 1.2, 1.4], np.float32)
    result = change(tf.cast(batch, tf.float32), factors).numpy()
    for image, factor, own in zip(batch, factors, result, strict=True):
        expected = np.asarray(enhance(Image.fromarray(image)).enhance(float(factor))).astype(float)
        assert np.abs(own - expected).max() <= 1.5  # Pillow cuts off what is behind the point


def test_hue_turns_by_up_to_a_fifth_and_factors_stay_within_two_fifths(monkeypatch):
    red = np.broadcast_to(np.array([200, 60, 60], np.uint8), (3000, 1, 1, 3))
    with monkeypatch.context() as patch:
        patch.setattr(torchvision, "_STRENGTH", 0.0)
        turned = torchvision.color_jitter(tf.constant(red), SEED).numpy()[:, 0, 0] / 255.0
    hues = np.array([colorsys.rgb_to_hsv(*colour)[0] for colour in turned])
    hues = np.where(hues > 0.5, hues - 1, hues)
    assert -0.205 < hues.min() < -0.19
    assert 0.19 < hues.max() < 0.205
    assert abs(hues.mean()) < 0.01
    np.testing.assert_allclose(turned.max(axis=-1), 200 / 255, atol=1 / 255)
    grey = np.full((3000, 1, 1, 3), 100, np.uint8)
    changed = torchvision.color_jitter(tf.constant(grey), SEED).numpy()
    assert np.ptp(changed, axis=-1).max() == 0
    assert changed.min() == 60
    assert changed.max() == 140
