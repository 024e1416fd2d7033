"""One tiny network of every stock layer that a derived network is made of, and one export of it."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from hmnas_tf.exporters import artifacts, contract
from hmnas_tf.exporters.formats import EXPORTERS

SHAPE = (8, 8, 3)
CLASSES = 5
MEAN, STD = (0.5, 0.25, 0.125), (0.5, 1.0, 2.0)


def build(seed: int = 0) -> keras.Model:
    """C = 4 on 8x8 images; random weights and BN statistics, logits of order 1."""
    layers = keras.layers
    conv = {"padding": "same", "use_bias": False}
    image = keras.Input(SHAPE, name="image")
    stem = layers.BatchNormalization(epsilon=1e-5)(layers.Conv2D(4, 3, **conv)(image))  # [B, 8, 8, 4]
    x = layers.ReLU()(stem)
    separable = layers.BatchNormalization()(layers.SeparableConv2D(4, 3, **conv)(x))
    dilated = layers.SeparableConv2D(4, 5, dilation_rate=2, **conv)(x)
    depthwise = layers.Conv2D(4, 1)(layers.DepthwiseConv2D(3, dilation_rate=2, **conv)(x))
    pooled = layers.BatchNormalization()(layers.AveragePooling2D(3, 1, padding="same")(stem))
    node = layers.Add()(
        [layers.Rescaling(0.3)(separable), dilated, depthwise, pooled, layers.Rescaling(0.7)(stem)]
    )
    shifted = layers.Cropping2D(((1, 0), (1, 0)))(layers.ZeroPadding2D(((0, 1), (0, 1)))(node))
    halves = [layers.Conv2D(2, 1, strides=2, **conv)(layers.ReLU()(y)) for y in (node, shifted)]
    reduced = layers.BatchNormalization()(layers.Concatenate()(halves))  # [B, 4, 4, 4]
    thinned = layers.SeparableConv2D(4, 3, **conv)(layers.MaxPooling2D(1, strides=2)(node))
    maxed = layers.MaxPooling2D(3, 2, padding="same")(node)
    y = layers.Concatenate()([layers.Add()([reduced, thinned]), maxed])  # [B, 4, 4, 8]
    logits = layers.Dense(CLASSES, name="logits")(layers.GlobalAveragePooling2D()(y))
    model = keras.Model(image, logits, name="derived")
    random = np.random.default_rng(seed)
    for variable in model.weights:
        spread = random.standard_normal(variable.shape) * (0.5 if len(variable.shape) > 1 else 0.2)
        variable.assign(abs(spread) + 0.5 if "variance" in variable.path else spread)
    probe = model(normalised(pixels_of(64)), training=False).numpy()
    kernel, bias = model.get_layer("logits").weights
    scale = 1.0 / probe.std(axis=0)
    kernel.assign(kernel * scale)
    bias.assign((bias - probe.mean(axis=0)) * scale)
    return model


def pixels_of(count: int) -> np.ndarray:
    """Images of a random colour each, with noise on it."""
    random = np.random.default_rng(1)
    colours = random.integers(0, 256, (count, 1, 1, SHAPE[-1]))
    return np.clip(colours + random.integers(-60, 60, (count, *SHAPE)), 0, 255).astype(np.uint8)


def normalised(pixels: np.ndarray) -> np.ndarray:
    """As users are told to do it."""
    return ((pixels / 255 - MEAN) / STD).astype(np.float32)


@pytest.fixture(scope="session")
def model() -> keras.Model:
    return build()


@pytest.fixture(scope="session")
def other_model() -> keras.Model:
    """The same graph with other weights."""
    return build(seed=2)


@pytest.fixture(scope="session")
def labelling() -> contract.Labelling:
    names = ("zero", "one", "zwölf", "three", "four")
    return contract.Labelling(names, mean=MEAN, std=STD, image_shape=SHAPE)


@pytest.fixture(scope="session")
def pixels(model) -> np.ndarray:
    """The 40 of 200 images that the model is surest about, so that rounding does not move them to another class."""
    candidates = pixels_of(200)
    logits = np.sort(model(normalised(candidates), training=False).numpy(), axis=-1)
    return candidates[np.argsort(logits[:, -2] - logits[:, -1])[:40]]


@pytest.fixture(scope="session")
def images(pixels) -> np.ndarray:
    return normalised(pixels)


@pytest.fixture(scope="session")
def logits(model, images) -> np.ndarray:
    return model(images, training=False).numpy()


@pytest.fixture(scope="session")
def labels(logits) -> np.ndarray:
    """What the model says, with 6 of 40 changed: its test error is 15 %."""
    labels = logits.argmax(-1)
    assert len(set(labels)) >= 3
    labels[:6] = (labels[:6] + 1) % CLASSES
    return labels


@pytest.fixture(scope="session")
def network(model, labelling, pixels) -> artifacts.Network:
    """Folding is tested with derivation; here both forms are the same model."""
    return artifacts.Network(model, model, model, labelling, '{"cells": []}', pixels)


@pytest.fixture(scope="session")
def cargo(network) -> contract.Cargo:
    return network.cargo("folded")


@pytest.fixture(scope="session")
def unavailable() -> dict[str, str]:
    """What cannot be written here, because a package for browsers cannot be had, and why."""
    reasons = {name: exporter.missing() for name, exporter in EXPORTERS.items()}
    return {name: messages[0] for name, messages in reasons.items() if messages}


@pytest.fixture(scope="session")
def available(unavailable) -> list[str]:
    """The artifacts that can be written here."""
    return [name for name in EXPORTERS if name not in unavailable]


@pytest.fixture(autouse=True)
def only_what_can_be_written(request, unavailable) -> None:
    name = getattr(request.node, "callspec", None) and request.node.callspec.params.get("name")
    if name in unavailable:
        pytest.skip(unavailable[name])


@pytest.fixture(scope="session")
def page_alone(network, pixels, labels, unavailable, tmp_path_factory):
    """The folder of a page, what `export_all` says about it, and the lines that it showed."""
    if "web" in unavailable:
        pytest.skip(unavailable["web"])
    run, said = tmp_path_factory.mktemp("page"), []
    results = artifacts.export_all(network, run / "model", ["web"], pixels, labels, said.append)
    return run / "model/web", results["web"], said


@pytest.fixture(scope="session")
def exported(network, pixels, labels, available, tmp_path_factory):
    """The run folder and what `export_all` says about it; tests only read both."""
    run = tmp_path_factory.mktemp("run")
    return run, artifacts.export_all(network, run / "model", available, pixels, labels)
