"""Masks put on whole Keras models, trained, and taken off again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.layers import (
    KERNELS,
    Cell,
    MaskedCell,
    MaskedConv2D,
    MaskedLayer,
    MultiLevelEncoding,
    Stem,
    mask_weights,
    set_trainable,
    strip,
    weight_density,
)
from hmnas_tf.settings.paper import MASK_INITIAL

layers = keras.layers
SAMPLES = {  # a layer of each class that can be masked, and the shape it reads
    layers.Conv1D: (lambda: layers.Conv1D(3, 3), (6, 2)),
    layers.Conv1DTranspose: (lambda: layers.Conv1DTranspose(3, 3), (6, 2)),
    layers.Conv2D: (lambda: layers.Conv2D(4, 3, groups=2, activation="relu"), (6, 6, 2)),
    layers.Conv2DTranspose: (lambda: layers.Conv2DTranspose(3, 3, strides=2), (4, 4, 2)),
    layers.Conv3D: (lambda: layers.Conv3D(3, 2), (4, 4, 4, 2)),
    layers.Conv3DTranspose: (lambda: layers.Conv3DTranspose(3, 2), (4, 4, 4, 2)),
    layers.Dense: (lambda: layers.Dense(3, activation="tanh"), (5, 2)),
    layers.DepthwiseConv1D: (lambda: layers.DepthwiseConv1D(3), (6, 2)),
    layers.DepthwiseConv2D: (lambda: layers.DepthwiseConv2D(3, depth_multiplier=2), (6, 6, 2)),
    layers.EinsumDense: (lambda: layers.EinsumDense("btc,cd->btd", (5, 3), bias_axes="d"), (5, 2)),
    layers.SeparableConv1D: (lambda: layers.SeparableConv1D(3, 3), (6, 2)),
    layers.SeparableConv2D: (lambda: layers.SeparableConv2D(3, 3), (6, 6, 2)),
}


def model_of_all_sorts() -> keras.Model:
    """A branch, a sum that is no layer, a functional and a sequential model inside, one of them used twice."""
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="stem")(image)
    x = layers.BatchNormalization(name="norm")(x)
    inside = keras.Input((8, 8, 4))
    block = keras.Model(
        inside, layers.SeparableConv2D(4, 3, padding="same", name="deep")(inside), name="block"
    )
    twice = keras.Sequential([keras.Input((8, 8, 4)), layers.Conv2D(4, 1, name="again")], name="twice")
    x = twice(block(x)) + twice(x)
    x = layers.Dense(6, activation="relu", name="hidden")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, layers.Dense(3, name="logits")(layers.Dropout(0.1)(x)), name="all_sorts")


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    return model_of_all_sorts()


@pytest.fixture(scope="module")
def shown() -> np.ndarray:
    return np.random.default_rng(3).standard_normal((5, 8, 8, 3), np.float32)


@pytest.fixture
def masked(model) -> keras.Model:
    """The model with half of its masks at 0."""
    copy = mask_weights(model)
    random = np.random.default_rng(4)
    for layer in copy._flatten_layers():
        for mask in layer.real_masks if isinstance(layer, MaskedLayer) else ():
            mask.assign(np.where(random.random(mask.shape) < 0.5, MASK_INITIAL, 0.0))
    return copy


def compute(model: keras.Model, *inputs: np.ndarray) -> np.ndarray:
    return np.asarray(model(inputs[0] if len(inputs) == 1 else list(inputs), training=False))


def test_every_class_has_a_sample():
    assert set(SAMPLES) == set(KERNELS)


@pytest.mark.parametrize("kind", SAMPLES, ids=lambda kind: kind.__name__)
def test_a_masked_layer_is_the_layer_with_zeros_in_its_kernels(kind, images):
    make, shape = SAMPLES[kind]
    plain, x = make(), images(2, *shape)
    expected = np.asarray(plain(x))
    masked = MaskedLayer(plain)
    np.testing.assert_array_equal(masked(x), expected)
    assert [tuple(m.shape) for m in masked.real_masks] == [getattr(plain, n).shape for n in KERNELS[kind]]
    random = np.random.default_rng(0)
    for mask in masked.real_masks:
        mask.assign(np.where(random.random(mask.shape) < 0.6, MASK_INITIAL, 0.0))
    with tf.GradientTape() as tape:
        own = masked(x)
        loss = tf.reduce_sum(own * own)
    kernels = [getattr(plain, name) for name in KERNELS[kind]]
    gradients = tape.gradient(loss, [v.value for v in [*kernels, *masked.real_masks]])
    of_kernels, of_masks = gradients[: len(kernels)], gradients[len(kernels) :]
    before = [kernel.numpy() for kernel in kernels]
    for kernel, binary in zip(kernels, masked.binary_masks(), strict=True):
        kernel.assign(kernel * binary)
    values = [kernel.value for kernel in kernels]
    with tf.GradientTape() as tape:
        other = plain(x)
        loss = tf.reduce_sum(other * other)
    np.testing.assert_array_equal(own, other)
    rows = zip(tape.gradient(loss, values), of_kernels, of_masks, before, masked.binary_masks(), strict=True)
    for dense, of_kernel, of_mask, kernel, binary in rows:
        np.testing.assert_allclose(of_kernel, dense * binary, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(of_mask, dense * kernel, rtol=1e-5, atol=1e-5)  # straight through
    assert any(
        np.any(mask[~binary] != 0) for mask, binary in zip(of_masks, masked.binary_masks(), strict=True)
    )


def test_a_copy_with_fresh_masks_is_the_model(model, shown):
    copy = mask_weights(model)
    np.testing.assert_array_equal(compute(copy, shown), compute(model, shown))
    assert [layer.name for layer in copy.layers] == [layer.name for layer in model.layers]
    kinds = {layer.name: type(layer).__name__ for layer in copy._flatten_layers()}
    for name in ("stem", "deep", "again", "hidden"):
        assert name in kinds
        assert isinstance(next(la for la in copy._flatten_layers() if la.name == name), MaskedLayer)
    assert kinds["logits"] == "Dense"
    own = {id(variable) for variable in model.variables}
    assert not own & {id(variable) for variable in copy.variables}
    assert weight_density(copy) == 1.0


def test_a_choice_of_layers_and_their_settings(model):
    copy = mask_weights(
        model, choose=lambda layer: layer.name in ("stem", "logits"), threshold=0.25, price=2.0
    )
    masked = [layer for layer in copy._flatten_layers() if isinstance(layer, MaskedLayer)]
    assert [layer.name for layer in masked] == ["stem", "logits"]
    assert {(layer.threshold, layer.price) for layer in masked} == {(0.25, 2.0)}
    assert weight_density(copy) == 0.0  # fresh masks are below this threshold


@pytest.mark.slow
def test_stripping_leaves_stock_layers_with_zeros(masked, shown, tmp_path):
    stripped = strip(masked)
    np.testing.assert_array_equal(compute(stripped, shown), compute(masked, shown))
    assert all(type(layer).__module__.startswith("keras.") for layer in stripped._flatten_layers())
    assert [layer.name for layer in stripped.layers] == [layer.name for layer in masked.layers]
    kernels = [
        variable
        for variable in stripped.trainable_variables
        if variable.name.endswith("kernel") and "logits" not in variable.path
    ]
    share = np.concatenate([np.ravel(kernel) != 0 for kernel in kernels]).mean()
    assert share == pytest.approx(weight_density(masked))
    assert 0.3 < share < 0.7
    stripped.save(tmp_path / "stripped.keras")
    np.savez(tmp_path / "shown.npz", image=shown, expected=compute(masked, shown))
    program = """
import sys
from pathlib import Path
sys.modules["hmnas_tf"] = None  # whoever imports it is refused
import keras, numpy
shown = numpy.load("shown.npz")
network = keras.models.load_model("stripped.keras")
assert abs(network(shown["image"], training=False).numpy() - shown["expected"]).max() <= 1e-6
"""
    command = [sys.executable, "-I", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_masked_model_is_saved_and_loaded(masked, shown, tmp_path):
    set_trainable(masked, masks=True, weights=False)
    masked.save(tmp_path / "masked.keras")
    loaded = keras.models.load_model(tmp_path / "masked.keras")
    np.testing.assert_array_equal(compute(loaded, shown), compute(masked, shown))
    names = [sorted(v.path.split("/")[-2:] for v in net.trainable_variables) for net in (loaded, masked)]
    assert names[0] == names[1]
    assert weight_density(loaded) == weight_density(masked)


@pytest.mark.parametrize(("masks", "weights"), [(True, False), (False, True), (True, True)])
def test_what_is_trained(model, shown, masks, weights):
    """A step of `fit` changes what was chosen and nothing else; batch statistics go with the weights."""
    copy = mask_weights(model, price=0.1)
    set_trainable(copy, masks=masks, weights=weights)
    by_path = {v.path: v for v in copy.variables if "seed" not in v.path}
    before = {path: variable.numpy() for path, variable in by_path.items()}
    copy.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
    copy.fit(shown, np.ones((5, 3)), epochs=1, verbose=0)
    for path, variable in by_path.items():
        expected = masks if path.endswith("_real_mask") else weights
        assert np.any(variable.numpy() != before[path]) == expected, path


def test_masked_weights_stay_what_they_are_while_others_are_trained(images):
    """Under XLA too."""
    masked = mask_weights(
        keras.Sequential([keras.Input((4,)), layers.Dense(6), layers.Dense(2)]), choose=lambda layer: True
    )
    first = masked.layers[0]
    gone = np.random.default_rng(0).random((4, 6)) < 0.5
    first.real_masks[0].assign(np.where(gone, 0.0, MASK_INITIAL))
    set_trainable(masked, masks=False, weights=True)
    before = first.layer.kernel.numpy()
    masked.compile(keras.optimizers.Adam(0.1), "mse", jit_compile=True)
    masked.fit(images(5, 4), np.ones((5, 2)), epochs=2, verbose=0)
    after = first.layer.kernel.numpy()
    np.testing.assert_array_equal(after[gone], before[gone])
    assert np.all(after[~gone] != before[~gone])


def test_a_price_is_paid_for_each_surviving_weight_once(model, shown):
    """However often a layer is applied, and only while masks are trained."""
    copy = mask_weights(model, price=0.5)
    copy(shown)
    masks = [v for v in copy.trainable_variables if v.name.endswith("_real_mask")]
    assert float(sum(copy.losses)) == 0.5 * sum(np.prod(mask.shape) for mask in masks)
    with tf.GradientTape() as tape:
        price = tf.add_n(copy.losses)
    for gradient in tape.gradient(price, [mask.value for mask in masks]):
        np.testing.assert_array_equal(gradient, np.full(gradient.shape, 0.5))
    set_trainable(copy, masks=False, weights=True)
    assert copy.losses == []
    assert mask_weights(model).losses == []


def test_under_mixed_precision_masks_are_float32(shown):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = model_of_all_sorts()
    finally:
        keras.config.set_dtype_policy("float32")
    copy = mask_weights(model)
    assert compute(copy, shown).dtype == compute(model, shown).dtype == "bfloat16"
    np.testing.assert_array_equal(compute(copy, shown), compute(model, shown))
    assert {variable.dtype for variable in copy.trainable_variables} == {"float32"}
    np.testing.assert_array_equal(compute(strip(copy), shown), compute(model, shown))


def test_a_compiled_model_with_a_loss_of_ones_own(shown):
    model = model_of_all_sorts()
    model.compile("sgd", loss=lambda wanted, found: tf.reduce_mean(wanted - found))
    assert not mask_weights(model).compiled
    assert model.compiled


def test_a_layer_keeps_track_of_its_own_variables():
    """Inside the wrapper a layer may still count, as batch statistics do."""

    class Counting(layers.Dense):
        def build(self, input_shape):
            super().build(input_shape)
            self.calls = self.add_weight(shape=(), initializer="zeros", name="calls", trainable=False)

        def call(self, inputs):
            self.calls.assign_add(1.0)
            return super().call(inputs)

    masked = MaskedLayer(Counting(2))
    masked.trainable = False
    kernels = [
        masked(np.ones((1, 3), "float32")) is not None and masked.layer.kernel.numpy() for _ in range(3)
    ]
    assert float(masked.layer.calls) == 3.0
    np.testing.assert_array_equal(kernels[0], kernels[2])


def test_layers_of_this_package_are_stripped_too(shown, randomise):
    image = keras.Input((8, 8, 3), name="image")
    x = MaskedConv2D(4, 3, strides=2, name="conv")(image)
    settings = dict(nodes=2, operations=("sep_conv_3x3", "max_pool_3x3", "identity"))
    first = MaskedCell(4, name="first", **settings)(x, x)
    second = MaskedCell(4, name="second", reduction=True, **settings)(x, first)
    network = keras.Model(image, layers.GlobalAveragePooling2D()(second))
    randomise(network, density=0.6)
    network.get_layer("first").encoding.edge_mask.assign([1, 1, 0, 0, 0])  # its second node is dead
    stripped = strip(network)
    assert all(type(layer).__module__.startswith("keras.") for layer in stripped._flatten_layers())
    names = [layer.name for layer in stripped._flatten_layers()]
    assert "first_dead" in names
    assert "second_dead" not in names
    np.testing.assert_allclose(compute(stripped, shown), compute(network, shown), rtol=1e-5, atol=1e-5)
    set_trainable(network, masks=True, weights=False)
    assert {variable.name for variable in network.trainable_variables} == {
        "real_mask",
        "operation_mask",
        "edge_mask",
    }


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = MaskedLayer(layers.Dense(2))

    def call(self, inputs):
        return self.dense(inputs)


def test_a_subclassed_model_is_masked_by_hand():
    network = Subclassed()
    network(np.ones((1, 3), "float32"))
    set_trainable(network, masks=True, weights=False)
    assert [variable.name for variable in network.trainable_variables] == ["kernel_real_mask"]
    for change in (mask_weights, strip):
        with pytest.raises(ValueError, match=r"of class Subclassed: wrap its layers in MaskedLayer"):
            change(network)


def test_what_cannot_be_masked_or_stripped_is_named():
    with pytest.raises(ValueError, match=r"received ReLU: add its class .* to KERNELS"):
        MaskedLayer(layers.ReLU())
    with pytest.raises(ValueError, match=r"received 1 with kernels and none chosen: pass choose="):
        mask_weights(keras.Sequential([keras.Input((3,)), layers.Dense(2)]))
    with pytest.raises(ValueError, match=r"begin it with keras.Input"):
        mask_weights(keras.Sequential([layers.Dense(2), layers.Dense(2)]))
    adapted = layers.Dense(2)
    adapted.build((None, 3))
    adapted.enable_lora(1)
    with pytest.raises(ValueError, match=r"received results of LoRA or quantization"):
        MaskedLayer(adapted).build((None, 3))
    image = keras.Input((8, 8, 3))
    with pytest.raises(ValueError, match=r"MaskedConv2D and MaskedCell, received Stem"):
        strip(keras.Model(image, Stem((4,))(image)))
    inside = layers.TimeDistributed(MaskedLayer(layers.Dense(2)))
    with pytest.raises(ValueError, match=r"MaskedConv2D and MaskedCell, received MaskedLayer"):
        strip(keras.Sequential([keras.Input((4, 3)), inside]))
    weights = MultiLevelEncoding(1, 1).mixing_weights()
    cell = Cell(4, nodes=1, operations=("identity",))(image, image, weights)
    with pytest.raises(ValueError, match=r"MaskedConv2D and MaskedCell, received Cell"):
        strip(keras.Model(image, cell))


REPLICAS = """
import keras, numpy, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from hmnas_tf.layers import mask_weights
images, labels = numpy.random.default_rng(0).standard_normal((32, 8, 8, 1)).astype("float32"), numpy.arange(32) % 3
found = []
for strategy in (tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        layers = [keras.layers.SeparableConv2D(4, 3), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)]
        masked = mask_weights(keras.Sequential([keras.Input((8, 8, 1)), *layers]), price=1e-3)
        masked.compile(keras.optimizers.SGD(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    masked.fit(images, labels, batch_size=16, epochs=2, shuffle=False, verbose=0)
    found.append([variable.numpy() for variable in masked.trainable_variables])
assert len(found[0]) == 7
for one, two in zip(*found, strict=True):
    numpy.testing.assert_allclose(one, two, atol=1e-6)
"""


@pytest.mark.slow
def test_two_replicas_train_masks_as_one_does():
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", REPLICAS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
