"""What every public layer of the project can do; a layer without a line in CASES fails."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

import hmnas_tf.layers
from hmnas_tf.layers.batch_norm import BatchNorm
from hmnas_tf.layers.cell import Cell
from hmnas_tf.layers.convolutions import Convolution, InvertedResidual, PointwiseConvolution
from hmnas_tf.layers.factorized_reduce import FactorizedReduce
from hmnas_tf.layers.masked_cell import MaskedCell
from hmnas_tf.layers.masked_conv2d import MaskedConv2D
from hmnas_tf.layers.masked_depthwise_conv2d import MaskedDepthwiseConv2D
from hmnas_tf.layers.masked_layer import MaskedLayer
from hmnas_tf.layers.masked_pointwise import MaskedPointwise
from hmnas_tf.layers.mixed_operation import MixedOperation
from hmnas_tf.layers.multi_level_encoding import MultiLevelEncoding
from hmnas_tf.layers.operations import Identity, Pool, SeparableConvolution, SeparableUnit, Zero
from hmnas_tf.layers.parallel_conv2d import MaskedParallelConv2D
from hmnas_tf.layers.relu_pointwise_norm import ReluPointwiseNorm
from hmnas_tf.layers.stem import Stem

IMAGE = (8, 8, 4)
OPERATIONS = ("dil_conv_3x3", "max_pool_3x3")


class Case(NamedTuple):
    """How a layer is made, its scalars by hand, what it reads and what shape comes out.

    `reads` is `image`, `images` (a list of one an edge), `pair` (two images) or `nothing`; `weights` is the
    shape of a further argument.
    """

    make: Callable[[], keras.layers.Layer]
    trainable: int
    statistics: int
    reads: str
    weights: tuple[int, ...] | None
    output: tuple[int, ...]


DILATED = 9 * 4 + 16  # weights of dil_conv_3x3 at C = 4; every masked weight has a mask of its own
CASES = {
    "BatchNorm": Case(lambda: BatchNorm(affine=True, edges=2), 16, 16, "images", (2,), IMAGE),
    "Cell": Case(
        lambda: Cell(4, nodes=2, operations=OPERATIONS, reduction=True, previous_reduction=False),
        2 * (2 * 16 + 5 * DILATED),  # two preprocessings and 5 edges
        2 * 8 + 5 * 8 + 3 * 8,  # a pool's statistics are those of a node
        "pair",
        (5, 2),
        (4, 4, 8),
    ),
    "Convolution": Case(
        lambda: Convolution(4, edges=2, strides=2), 2 * 2 * 9 * 16, 16, "image", (2,), (4, 4, 4)
    ),
    "FactorizedReduce": Case(
        lambda: FactorizedReduce(6, edges=2, affine=True), 2 * 2 * 24 + 24, 24, "image", (2,), (4, 4, 6)
    ),
    "Identity": Case(lambda: Identity(4, edges=2, strides=2), 2 * 2 * 16, 16, "image", (2,), (4, 4, 4)),
    "InvertedResidual": Case(
        lambda: InvertedResidual(4, kernel_size=3, edges=2),
        2 * 2 * 3 * (16 + 36 + 16),
        2 * 2 * (12 + 12 + 4),
        "image",
        (2,),
        IMAGE,
    ),
    "MaskedCell": Case(
        lambda: MaskedCell(4, nodes=2, operations=OPERATIONS, renormalize=True, partial_channels=2),
        2 * (2 * 16 + 5 * (9 * 2 + 4))
        + 2 * (10 + 5),  # a cell's with operations at C = 2, and its encoding's
        2 * 8 + 5 * 4 + 3 * 4,
        "pair",
        None,
        (8, 8, 8),
    ),
    "MaskedConv2D": Case(lambda: MaskedConv2D(6, 3, strides=2), 2 * 9 * 24, 0, "image", None, (4, 4, 6)),
    "MaskedDepthwiseConv2D": Case(
        lambda: MaskedDepthwiseConv2D(3, edges=2), 2 * 2 * 36, 0, "images", None, IMAGE
    ),
    "MaskedLayer": Case(
        lambda: MaskedLayer(keras.layers.SeparableConv2D(6, 3, padding="same"), price=0.25),
        2 * (36 + 24) + 6,
        0,
        "image",
        None,
        (8, 8, 6),
    ),
    "MaskedParallelConv2D": Case(
        lambda: MaskedParallelConv2D(6, 3, edges=2), 2 * 2 * 9 * 24, 0, "images", None, (8, 8, 6)
    ),
    "MaskedPointwise": Case(lambda: MaskedPointwise(6, edges=2), 2 * 2 * 24, 0, "images", None, (8, 8, 6)),
    "MixedOperation": Case(
        lambda: MixedOperation(4, edges=2, operations=OPERATIONS),
        2 * 2 * DILATED,
        16 + 8,
        "image",
        (2, 2),
        IMAGE,
    ),
    "MultiLevelEncoding": Case(lambda: MultiLevelEncoding(2, 3), 2 * (15 + 5), 0, "nothing", None, (5, 3)),
    "PointwiseConvolution": Case(
        lambda: PointwiseConvolution(4, edges=2, strides=2), 2 * 2 * 16, 16, "image", (2,), (4, 4, 4)
    ),
    "Pool": Case(lambda: Pool(4, kind="max", edges=2, affine=True), 16, 8, "image", (2,), IMAGE),
    "ReluPointwiseNorm": Case(lambda: ReluPointwiseNorm(6, strides=2), 2 * 24, 12, "image", None, (4, 4, 6)),
    "SeparableConvolution": Case(
        lambda: SeparableConvolution(4, kernel_size=3, edges=2), 2 * 2 * 2 * DILATED, 32, "image", (2,), IMAGE
    ),
    "SeparableUnit": Case(
        lambda: SeparableUnit(4, kernel_size=3, dilation_rate=2, strides=2, edges=2),
        2 * 2 * DILATED,
        16,
        "image",
        (2,),
        (4, 4, 4),
    ),
    "Stem": Case(lambda: Stem((2, 6), strides=2), 2 * 9 * (8 + 12) + 2 * 8, 2 * 8, "image", None, (2, 2, 6)),
    "Zero": Case(lambda: Zero(4, edges=2, strides=2), 0, 0, "image", (2,), (4, 4, 4)),
}
every_layer = pytest.mark.parametrize("name", CASES)


def public_layers() -> set[str]:
    """Returns the names of all layers that `hmnas_tf.layers` registers with Keras."""
    modules = [
        importlib.import_module(f"hmnas_tf.layers.{module.name}")
        for module in pkgutil.iter_modules(hmnas_tf.layers.__path__)
    ]
    members = [member for module in modules for member in vars(module).values() if isinstance(member, type)]
    return {
        member.__name__
        for member in members
        if issubclass(member, keras.layers.Layer)
        and keras.saving.get_registered_name(member).startswith("hmnas_tf>")
    }


def arguments(case: Case, make: Callable[[tuple[int, ...]], Any]) -> list:
    """Returns the layer's arguments, each image made by `make`; mixing weights are numbers."""
    if case.reads == "pair":
        values = [make(IMAGE), make(IMAGE)]
    else:
        values = [[make(IMAGE), make(IMAGE)] if case.reads == "images" else make(IMAGE)]
    if case.weights:
        values.append(np.linspace(0.2, 1.0, np.prod(case.weights)).reshape(case.weights).astype("float32"))
    return values


def build(name: str, case: Case) -> keras.layers.Layer:
    layer = case.make()
    if case.reads == "nothing":
        return layer
    shape = (None, *IMAGE)
    layer.build(*([shape] * 2 if case.reads == "pair" else [shape]))
    return layer


def call(layer, case: Case, inputs: list, training: bool | None = None) -> list:
    """Returns all results as a list."""
    if case.reads == "nothing":
        return [layer.mixing_weights()]
    accepts = "training" in layer._call_signature.parameters
    results = layer(*inputs, **({"training": training} if accepts else {}))
    return results if isinstance(results, list) else [results]


def batch(case: Case, images) -> list:
    seeds = iter(range(10))
    return arguments(case, lambda shape: images(2, *shape, seed=next(seeds)))


def test_every_public_layer_has_a_case():
    assert set(CASES) == public_layers()


@every_layer
def test_number_of_scalars(name):
    case = CASES[name]
    layer = build(name, case)
    groups = (layer.trainable_variables, layer.non_trainable_variables)
    counts = [sum(int(np.prod(variable.shape)) for variable in group) for group in groups]
    assert counts == [case.trainable, case.statistics]


@every_layer
def test_config_round_trip(name, images, randomise):
    """A layer made from the JSON of a layer's settings computes the same with the same values."""
    case = CASES[name]
    layer = randomise(build(name, case))
    text = json.dumps(keras.saving.serialize_keras_object(layer))
    copy = keras.saving.deserialize_keras_object(json.loads(text))
    assert type(copy) is type(layer)
    assert json.dumps(copy.get_config()) == json.dumps(layer.get_config())  # which has no tuples
    assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()
    if not copy.built:
        shape = (None, *IMAGE)
        copy.build(*([shape] * 2 if case.reads == "pair" else [shape]))
    copy.set_weights(layer.get_weights())
    inputs = batch(case, images)
    for own, other in zip(call(layer, case, inputs), call(copy, case, inputs), strict=True):
        np.testing.assert_array_equal(own, other)


@every_layer
def test_no_argument_of_the_constructor_is_missing_in_the_settings(name):
    layer = CASES[name].make()
    ours = [base for base in type(layer).__mro__ if base.__module__.startswith("hmnas_tf")]
    signatures = [inspect.signature(base.__init__).parameters.values() for base in ours]
    own = {
        p.name
        for parameters in signatures
        for p in parameters
        if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    }
    settings = layer.get_config()
    assert own - {"self"} <= set(settings)
    for key in own - {"self"}:
        value = getattr(layer, key)
        if isinstance(value, keras.layers.Layer):
            value = keras.saving.serialize_keras_object(value)
        assert value == settings[key]


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("BatchNorm", "Zero")])
def test_the_threshold_reaches_every_mask(name):
    case = CASES[name]
    layer = type(case.make()).from_config(case.make().get_config() | {"threshold": 0.25})
    masked = [part for part in layer._flatten_layers() if hasattr(part, "real_mask") or part is layer]
    assert {part.threshold for part in masked} == {0.25}


@pytest.mark.parametrize(
    ("name", "built"),
    [(name, True) for name, case in CASES.items() if case.reads != "nothing"]
    + [(name, False) for name, case in CASES.items() if case.reads in ("image", "pair")],
)
def test_symbolic_call_computes_what_the_eager_one_does(name, built, images, randomise):
    """Layers that read lists are built by their owners; the others build themselves as well."""
    case = CASES[name]
    layer = build(name, case) if built else case.make()
    symbols = arguments(case, keras.Input)
    results = layer(*symbols)
    randomise(layer)
    flat = [symbol for symbol in keras.tree.flatten(symbols) if isinstance(symbol, keras.KerasTensor)]
    for result in results if isinstance(results, list) else [results]:
        assert result.shape == (None, *case.output)
    inputs = batch(case, images)
    outputs = keras.Model(flat, results)([x for x in keras.tree.flatten(inputs) if x.ndim == 4])
    for own, other in zip(
        call(layer, case, inputs), outputs if isinstance(outputs, list) else [outputs], strict=True
    ):
        assert own.shape == other.shape
        np.testing.assert_allclose(own, other, rtol=1e-5, atol=1e-6)


@every_layer
def test_one_gradient_step_reaches_every_variable(name, images):
    case = CASES[name]
    layer, inputs = build(name, case), batch(case, images)
    variables = [variable.value for variable in layer.trainable_variables]
    before = layer.get_weights()

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            results = call(layer, case, inputs, training=True)
            outer = [tf.reshape(tf.cos(tf.range(tf.size(y), dtype=y.dtype)), y.shape) for y in results]
            loss = tf.add_n([tf.reduce_sum(y * o) for y, o in zip(results, outer, strict=True)])
        return tape.gradient(loss, variables) if variables else []

    gradients = step()
    for variable, gradient in zip(layer.trainable_variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.all(np.isfinite(gradient)), variable.path
        assert np.any(gradient != 0), variable.path
        variable.assign_sub(0.1 * tf.convert_to_tensor(gradient))
    after = layer.get_weights()
    assert all(np.any(old != new) for old, new in zip(before, after, strict=True))  # statistics moved as well


@every_layer
def test_mixed_precision_keeps_masks_and_statistics_in_float32(name, images, randomise):
    case = CASES[name]
    reference = randomise(build(name, case))
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layer, inputs = build(name, case), batch(case, images)
        layer.set_weights(reference.get_weights())
        for training in (True, False):
            layer.set_weights(reference.get_weights())
            results = call(layer, case, inputs, training=training)
            expected = call(reference, case, inputs, training=training)
            reference.set_weights(layer.get_weights())
            for own, other in zip(results, expected, strict=True):
                assert own.dtype == ("float32" if name == "MultiLevelEncoding" else "bfloat16")
                difference = np.abs(np.asarray(own, "float32") - np.asarray(other)).max()
                assert difference <= 0.06 * max(np.abs(np.asarray(other)).max(), 1e-3)
        variables = [variable.value for variable in layer.trainable_variables]
        with tf.GradientTape() as tape:
            results = call(layer, case, inputs, training=True)
            loss = tf.add_n([tf.reduce_sum(tf.cast(y, "float32") ** 2) for y in results])
        gradients = tape.gradient(loss, variables) if variables else []
    finally:
        keras.config.set_dtype_policy("float32")
    assert {variable.dtype for variable in layer.variables} <= {"float32"}
    for variable, gradient in zip(variables, gradients, strict=True):
        assert gradient.dtype == tf.float32
        assert np.all(np.isfinite(gradient)), variable
