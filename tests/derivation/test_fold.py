"""Folding changes how a network computes, never what."""

from __future__ import annotations

from collections import Counter

import keras
import numpy as np
import pytest
from keras import layers

from hmnas_tf.derivation.derive import derive
from hmnas_tf.derivation.evaluation_network import evaluation_network
from hmnas_tf.derivation.fold import fold
from hmnas_tf.derivation.rules import genotype_of
from hmnas_tf.layers import stock
from hmnas_tf.networks import counting
from hmnas_tf.settings.paper import PAPER_OPERATIONS
from hmnas_tf.space.genotype import CellGene, EdgeGene, Genotype, OperationGene
from hmnas_tf.space.topology import Topology

EXACT = 1e-5  # relative


def randomised(model: keras.Model, seed: int = 0) -> keras.Model:
    """As after fine-tuning: scales, offsets and statistics of every kind; zeros in kernels stay."""
    random = np.random.default_rng(seed)
    for variable in model.variables:
        name = variable.path.rpartition("/")[2]
        if name in ("gamma", "moving_variance"):
            variable.assign(random.uniform(0.5, 1.5, variable.shape) * np.where(name == "gamma", -1, 1))
        elif name in ("beta", "moving_mean", "bias"):
            variable.assign(random.standard_normal(variable.shape))
    return model


def kinds(model: keras.Model) -> Counter:
    return Counter(type(layer).__name__ for layer in model.layers)


@pytest.mark.parametrize("rule", ["masks", "random", "top2"])
@pytest.mark.parametrize(
    ("stem", "size", "density", "partial_channels"),
    [("cifar", 8, 0.6, 1), ("cifar", 9, 0.9, 1), ("cifar", 9, 0.8, 2), ("imagenet", 64, 0.5, 1)],
)
def test_a_folded_network_computes_what_the_derived_one_does(
    stem, size, density, partial_channels, rule, make_supernet, randomise, images, difference
):
    supernet = make_supernet(size=size, stem=stem, partial_channels=partial_channels)
    randomise(supernet, density=density, of_weights=0.5)
    network = randomised(derive(supernet, genotype_of(supernet, rule, 1), (size, size, 3)))
    folded = fold(network)
    assert difference(folded(images(size)), network(images(size))) < EXACT
    assert "BatchNormalization" not in kinds(folded)
    assert len(folded.layers) < (0.8 if partial_channels == 1 else 0.85) * len(network.layers)
    sizes = [counting.size_of(model) for model in (folded, network)]
    for key in ("params", "params_nonzero", "flops"):
        assert sizes[0][key] <= sizes[1][key]
    assert [tensor.name for tensor in folded.inputs] == ["image"]
    assert folded.output_shape == network.output_shape


def test_a_network_with_fresh_weights_and_every_operation_is_folded(make_supernet, images, difference):
    operations = ("none", "identity", "max_pool_3x3", "avg_pool_3x3", "sep_conv_3x3", "dil_conv_5x5")
    genotype = genotype_of(make_supernet(operations=operations), "masks")
    network = randomised(evaluation_network(genotype, 5, (8, 8, 3)))
    assert difference(fold(network)(images(8)), network(images(8))) < EXACT


def test_a_cell_of_every_operation_has_so_many_layers():
    """What is folded away comes back unnoticed otherwise: the results are the same."""
    genes = tuple(OperationGene(name, 0.25) for name in PAPER_OPERATIONS)
    nodes = tuple(tuple(EdgeGene(source, 0.5, genes) for source in range(2 + node)) for node in range(4))
    topology = Topology(initial_channels=4, cells=1, nodes=4, operations=PAPER_OPERATIONS)
    network = evaluation_network(Genotype(topology, (CellGene(nodes),)), 4, (8, 8, 1))
    found = kinds(fold(network))
    assert len(network.layers) == 527
    assert found.total() == 197
    assert (found["DepthwiseConv2D"], found["Conv2D"], found["Add"], found["Rescaling"]) == (42, 51, 4, 13)


def test_strides_of_pointwise_convolutions_are_for_inference_only(
    make_supernet, randomise, images, difference
):
    """Trained with a stride, to two channels, they corrupt memory in oneDNN; folded they have one layer less."""
    supernet = randomise(make_supernet(operations=("identity", "sep_conv_3x3")), density=1.0)
    network = derive(supernet, genotype_of(supernet, "masks"), (8, 8, 3))

    def strided(model: keras.Model) -> list[str]:
        found = [
            layer for layer in model.layers if type(layer) is layers.Conv2D and layer.kernel_size == (1, 1)
        ]
        return [layer.name for layer in found if layer.strides == (2, 2)]

    halves = [layer.name for layer in network.layers if layer.name.endswith(("_even", "_odd"))]
    assert strided(network) == []
    folded = fold(network)
    assert len(strided(folded)) == len(halves) > 0
    assert not [layer for layer in folded.layers if getattr(layer, "pool_size", None) == (1, 1)]
    assert difference(folded(images(8)), network(images(8))) < EXACT


def test_it_loads_where_only_keras_is(make_supernet, randomise, images, tmp_path):
    supernet = randomise(make_supernet(), density=0.6)
    folded = fold(derive(supernet, genotype_of(supernet, "masks"), (8, 8, 3)))
    assert {type(layer).__module__.partition(".")[0] for layer in folded.layers} == {"keras"}
    folded.save(tmp_path / "folded.keras")
    again = keras.saving.load_model(tmp_path / "folded.keras")
    np.testing.assert_array_equal(again(images(8)), folded(images(8)))


def test_masked_weights_stay_zero(make_supernet, randomise):
    supernet = randomise(make_supernet(1, 1, ("sep_conv_3x3",)), seed=1, density=1.0, of_weights=0.4)
    network = randomised(derive(supernet, genotype_of(supernet, "masks"), (8, 8, 3)))
    folded = fold(network)
    for name in ("stem_0_conv", "cell0_preprocess0_pointwise"):
        before, after = (np.asarray(model.get_layer(name).kernel) for model in (network, folded))
        np.testing.assert_array_equal(before == 0, after == 0)
        assert (before == 0).any()


# One feature at a time, on networks of a few layers.


def model_of(build, size: int = 6, channels: int = 4) -> keras.Model:
    """`build` gets the image and returns features."""
    image = keras.Input((size, size, channels), name="image")
    pooled = layers.GlobalAveragePooling2D(name="pool")(build(image))
    model = keras.Model(image, layers.Dense(3, name="logits")(pooled))
    random = np.random.default_rng(5)
    for variable in model.variables:
        variable.assign(random.standard_normal(variable.shape))
    return randomised(model)


def check(model: keras.Model) -> keras.Model:
    """Returns the folded model, which computes the same, corners too: its pooled features are weighted unevenly."""
    folded = fold(model)
    images = np.random.default_rng(6).standard_normal((4, *model.input_shape[1:]), np.float32)
    expected = model(images, training=False).numpy()
    assert np.abs(folded(images, training=False) - expected).max() < EXACT * np.abs(expected).max()
    return folded


def conv(channels: int, size: int = 1, **kwargs) -> layers.Layer:
    return layers.Conv2D(channels, size, padding="same", use_bias=False, **kwargs)


def depthwise(**kwargs) -> layers.Layer:
    return layers.DepthwiseConv2D(3, padding="same", use_bias=False, **kwargs)


def norm(**kwargs) -> layers.Layer:
    return layers.BatchNormalization(**kwargs)


def separable(x, name: str):
    """Both halves of a separable convolution."""
    for half in ("1", "2"):
        x = layers.ReLU(name=f"{name}_{half}_relu")(x)
        x = depthwise(name=f"{name}_{half}_depthwise")(x)
        x = conv(4, name=f"{name}_{half}_pointwise")(x)
        x = norm(name=f"{name}_{half}_bn")(x)
    return x


@pytest.mark.parametrize("layer", [conv(5, 3), conv(5, 3, strides=2), depthwise()], ids=str)
def test_what_follows_a_convolution_becomes_part_of_it(layer):
    layer = type(layer).from_config(layer.get_config())
    folded = check(model_of(lambda x: layers.Rescaling(0.3, 0.2)(norm()(layer(x)))))
    assert set(kinds(folded)) == {"InputLayer", type(layer).__name__, "GlobalAveragePooling2D", "Dense"}


def test_a_concatenation_hands_down_what_follows_it():
    folded = check(
        model_of(lambda x: norm()(layers.Concatenate()([conv(2, strides=2)(x), conv(3, 3, strides=2)(x)])))
    )
    assert kinds(folded) == Counter(InputLayer=1, Conv2D=2, Concatenate=1, GlobalAveragePooling2D=1, Dense=1)


def test_a_convolution_that_others_read_too_is_left_alone():
    def build(x):
        shared = conv(4, 3)(x)
        return layers.Add()([norm()(shared), layers.ReLU()(shared), layers.Rescaling(0.5)(shared)])

    folded = check(model_of(build))
    assert kinds(folded)["Conv2D"] == 1
    assert kinds(folded)["Rescaling"] == 2


def test_summed_1x1_convolutions_become_one_and_carry_the_constants():
    def build(x):
        x = layers.ReLU()(x)
        terms = [norm()(conv(4)(depthwise()(x))) for _ in range(3)]
        pooled = norm()(layers.AveragePooling2D(3, 1, padding="same")(x))
        return layers.Add(name="node")([*terms, pooled, layers.Rescaling(0.25)(x)])

    folded = check(model_of(build))
    assert kinds(folded)["Conv2D"] == kinds(folded)["DepthwiseConv2D"] == 1
    assert folded.get_layer("node_pointwise").kernel.shape == (1, 1, 12, 4)
    offsets = [np.ravel(layer.offset) for layer in folded.layers if isinstance(layer, layers.Rescaling)]
    assert len(offsets) == 2
    assert not np.concatenate(offsets).any()


def test_depthwise_convolutions_of_a_node_become_one_if_they_are_alike():
    def build(x):
        other = norm()(depthwise()(layers.ReLU()(x)))  # read twice, so it stays
        wide = layers.DepthwiseConv2D(5, padding="same", use_bias=False)
        read = [depthwise()(x), depthwise()(layers.ReLU()(x)), wide(x), depthwise(dilation_rate=2)(x), other]
        read += [depthwise(dilation_rate=2)(other), layers.DepthwiseConv2D(3, padding="same")(x)]
        return layers.Add(name="node")([norm()(conv(4)(tensor)) for tensor in read])

    folded = check(model_of(build))
    found = Counter(
        (layer.kernel_size[0], layer.dilation_rate[0], layer.kernel.shape[2])
        for layer in folded.layers
        if isinstance(layer, layers.DepthwiseConv2D)
    )
    assert found == {(3, 1, 12): 1, (5, 1, 4): 1, (3, 2, 8): 1, (3, 1, 4): 1}
    assert folded.get_layer("node_pointwise").kernel.shape == (1, 1, 28, 4)


def test_pools_relus_and_subsamplings_of_the_same_input_are_there_once():
    def build(x):
        terms = []
        for scale in (0.5, 2.0):
            relu = layers.ReLU()(x)
            pool = layers.MaxPooling2D(3, 1, padding="same")(x)
            terms += [layers.MaxPooling2D(1, 2)(pool), layers.MaxPooling2D(1, 2)(relu)]
            terms += [layers.Rescaling(scale)(layers.MaxPooling2D(1, 2)(x))]
        return layers.Add()(terms)

    folded = check(model_of(build))
    assert kinds(folded)["ReLU"] == 1
    assert kinds(folded)["MaxPooling2D"] == 4
    assert kinds(folded)["Rescaling"] == 2


def zero_pointwise(model: keras.Model, *names: str) -> None:
    for name in names:
        kernel = model.get_layer(name).kernel
        kernel.assign(np.zeros(kernel.shape))


def test_an_operation_of_which_only_a_constant_is_left_disappears():
    def build(x):
        return layers.Add()([separable(x, "a"), separable(x, "b"), layers.Rescaling(0.5)(x)])

    for zeros in (["a"], ["a", "b"]):
        model = model_of(build)
        zero_pointwise(model, *(f"{name}_2_pointwise" for name in zeros))
        folded = check(model)
        assert not [
            layer.name for layer in folded.layers if layer.name.startswith(tuple(f"{z}_2_" for z in zeros))
        ]


def test_a_node_of_nothing_but_constants_is_still_those_constants():
    model = model_of(lambda x: layers.Add()([separable(x, "a"), separable(x, "b")]))
    zero_pointwise(model, "a_2_pointwise", "b_2_pointwise")
    check(model)


@pytest.mark.parametrize("where", ["first pointwise", "second depthwise", "second pointwise"])
def test_dead_channels_between_the_halves_are_left_out(where):
    model = model_of(lambda x: separable(x, "a"))
    name, part = {
        "first pointwise": ("a_1_pointwise", np.s_[..., [0, 2]]),
        "second depthwise": ("a_2_depthwise", np.s_[:, :, [0, 2]]),
        "second pointwise": ("a_2_pointwise", np.s_[:, :, [0, 2]]),
    }[where]
    kernel = np.array(model.get_layer(name).kernel)
    kernel[part] = 0
    model.get_layer(name).kernel.assign(kernel)
    bn = model.get_layer("a_1_bn")
    bn.moving_mean.assign(np.zeros(4))
    bn.beta.assign([-1.0, 1.0, 0.0, 1.0])  # constants of -1 and 0, which the ReLU makes 0
    folded = check(model)
    assert folded.get_layer("a_1_pointwise").kernel.shape == (1, 1, 4, 2)
    assert folded.get_layer("a_2_depthwise").kernel.shape == (3, 3, 2, 1)
    assert folded.get_layer("a_2_pointwise").kernel.shape == (1, 1, 2, 4)


def test_a_constant_above_zero_meets_a_border_and_stays():
    model = model_of(lambda x: separable(x, "a"))
    kernel = np.array(model.get_layer("a_1_pointwise").kernel)
    kernel[..., 0] = 0
    model.get_layer("a_1_pointwise").kernel.assign(kernel)
    bn = model.get_layer("a_1_bn")
    bn.moving_mean.assign(np.zeros(4))
    bn.beta.assign(np.ones(4))
    assert check(model).get_layer("a_2_depthwise").kernel.shape == (3, 3, 4, 1)


@pytest.mark.parametrize("after", [norm, layers.ReLU, lambda: layers.Rescaling(0.5)])
def test_a_crop_of_channels_is_made_from_all_of_them(after):
    """What is done after it cannot be done before it, and a kernel's dead inputs are not those of the layer before."""

    def build(x):
        x = layers.ReLU()(norm(name="first_bn")(conv(4, name="first")(x)))
        return conv(4, name="second")(after()(stock.channels(x, 1, 3, "part")))

    model = model_of(build)
    kernel = np.array(model.get_layer("second").kernel)
    kernel[:, :, 0] = 0
    model.get_layer("second").kernel.assign(kernel)
    folded = check(model)
    assert folded.get_layer("first").kernel.shape == (1, 1, 4, 4)
    assert folded.get_layer("part").output.shape == (None, 6, 6, 2)


def test_a_crop_of_channels_is_one_summand_of_others():
    def build(x):
        parts = [stock.channels(x, *ends, f"part{i}") for i, ends in enumerate([(0, 3), (1, 4)])]
        summed = layers.Add()([layers.Rescaling(2.0, 0.5)(parts[0]), norm()(parts[1]), conv(3)(x)])
        return norm()(layers.Concatenate()([layers.Add()(parts), summed]))

    folded = check(model_of(build))
    assert kinds(folded)["Cropping2D"] == 2


def test_a_tensor_that_others_read_too_is_not_thinned():
    def build(x):
        first = layers.ReLU()(norm()(conv(4, name="first")(x)))
        return layers.Add()([conv(4, name="second")(first), layers.Rescaling(0.5)(first)])

    model = model_of(build)
    kernel = np.array(model.get_layer("second").kernel)
    kernel[:, :, 1] = 0
    model.get_layer("second").kernel.assign(kernel)
    assert check(model).get_layer("first").kernel.shape == (1, 1, 4, 4)


def test_layers_it_does_not_know_are_refused():
    with pytest.raises(ValueError, match="received SeparableConv2D 'other'"):
        fold(model_of(lambda x: layers.SeparableConv2D(4, 3, name="other")(x)))
    with pytest.raises(ValueError, match="activations in layers of their own, received one in 'active'"):
        fold(model_of(lambda x: layers.Conv2D(4, 3, activation="relu", name="active")(x)))


UNLIKE = {
    "negative_slope": lambda: layers.ReLU(negative_slope=0.1, name="other"),
    "threshold": lambda: layers.ReLU(threshold=0.5, name="other"),
    "max_value": lambda: layers.ReLU(max_value=6.0, name="other"),
    "axis": lambda: layers.BatchNormalization(axis=1, name="other"),
    "depth_multiplier": lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, name="other"),
    "groups": lambda: layers.Conv2D(4, 1, groups=2, name="other"),
    "Softmax": lambda: layers.Softmax(name="other"),
    "bfloat16": lambda: layers.ReLU(dtype="mixed_bfloat16", name="other"),
}


@pytest.mark.parametrize("what", UNLIKE)
def test_layers_that_do_something_else_are_refused(what):
    with pytest.raises(ValueError, match=f"{what}.*'other'"):
        fold(model_of(lambda x: UNLIKE[what]()(conv(4)(x))))


def test_a_concatenation_of_rows_and_a_layer_used_twice_are_refused():
    with pytest.raises(ValueError, match="axis=1 in 'rows'"):
        fold(model_of(lambda x: layers.Concatenate(axis=1, name="rows")([layers.ReLU()(x), x])))
    twice = layers.ReLU(name="twice")
    with pytest.raises(ValueError, match="applied once"):
        fold(model_of(lambda x: twice(conv(4)(twice(x)))))


def test_a_network_of_any_depth_is_folded():
    def build(x):
        for _ in range(150):
            x = layers.ReLU()(norm()(conv(4)(x)))
        return x

    check(model_of(build))
