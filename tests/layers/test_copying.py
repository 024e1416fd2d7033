"""What masking a whole model carries over besides variables, and what it refuses in one line."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.layers import MaskedLayer, mask_weights, set_trainable, strip

layers = keras.layers
NUMBERS = np.random.default_rng(0).normal(50.0, 9.0, (6, 4)).astype("float32")
WORDS = ["b", "a", "z", "b a", "c b"]


def sequential(*between: keras.Layer, shape=(4,), dtype="float32") -> keras.Model:
    """Layers before a layer that is masked and a classifier."""
    return keras.Sequential(
        [keras.Input(shape, dtype=dtype), *between, layers.Dense(5, name="hidden"), layers.Dense(2)]
    )


def adapted(layer: keras.Layer, data) -> keras.Layer:
    layer.adapt(data)
    return layer


def of_texts(layer: keras.Layer) -> keras.Model:
    return sequential(layer, shape=(1,), dtype="string")


def tripled(x):
    return x * 3.0


class Own(layers.Layer):
    """Wants a function, which no configuration can tell."""

    def __init__(self, function, weighted=False):
        super().__init__(name="own")
        self.function = function
        self.weighted = weighted

    def build(self, shape):
        self.gain = self.add_weight(shape=()) if self.weighted else 1.0

    def call(self, x):
        return self.function(x) * self.gain


class Square(keras.Regularizer):
    """Nobody has registered it."""

    def __call__(self, x):
        return keras.ops.mean(x * x)

    def get_config(self):
        return {}


class Observing(layers.Dense):
    """Adds a loss, keeps a metric and counts."""

    def __init__(self, units, **kwargs):
        super().__init__(units, **kwargs)
        self.mean = keras.metrics.Mean()

    def build(self, shape):
        super().build(shape)
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, x):
        y = super().call(x)
        self.add_loss(keras.ops.mean(y))
        self.mean.update_state(y)
        self.calls.assign_add(1.0)
        return y


CARRIED = {
    "Normalization": (lambda: sequential(adapted(layers.Normalization(), NUMBERS)), NUMBERS),
    "Normalization, given": (lambda: sequential(layers.Normalization(mean=50.0, variance=81.0)), NUMBERS),
    "Normalization, inverted": (
        lambda: sequential(adapted(layers.Normalization(invert=True), NUMBERS)),
        NUMBERS,
    ),
    "Normalization in a wrapper": (
        lambda: sequential(
            layers.TimeDistributed(adapted(layers.Normalization(), NUMBERS[:, :2])),
            layers.Flatten(),
            shape=(2, 2),
        ),
        NUMBERS.reshape(6, 2, 2),
    ),
    "Normalization in a model": (
        lambda: sequential(
            keras.Sequential([keras.Input((4,)), adapted(layers.Normalization(), NUMBERS)], name="inside")
        ),
        NUMBERS,
    ),
    "Discretization": (
        lambda: sequential(adapted(layers.Discretization(num_bins=4, output_mode="multi_hot"), NUMBERS)),
        NUMBERS,
    ),
    "StringLookup": (lambda: of_texts(adapted(layers.StringLookup(output_mode="one_hot"), WORDS)), WORDS),
    "StringLookup, given": (
        lambda: of_texts(layers.StringLookup(vocabulary=["a", "b"], output_mode="one_hot")),
        WORDS,
    ),
    "StringLookup, tf-idf": (
        lambda: of_texts(adapted(layers.StringLookup(output_mode="tf_idf"), [[w] for w in WORDS])),
        WORDS,
    ),
    "TextVectorization": (
        lambda: of_texts(adapted(layers.TextVectorization(output_mode="tf_idf"), WORDS)),
        WORDS,
    ),
    "IntegerLookup": (
        lambda: sequential(
            adapted(layers.IntegerLookup(output_mode="one_hot"), [7, 8, 9]), shape=(1,), dtype="int64"
        ),
        np.array([[7], [9], [1]]),
    ),
    "Lambda": (lambda: sequential(layers.Lambda(lambda x: x / 7)), NUMBERS),
    "Lambda of a function": (lambda: sequential(layers.Lambda(tripled)), NUMBERS),
    "layer without configuration": (lambda: sequential(Own(lambda x: x - 5)), NUMBERS),
    "activation of one's own": (lambda: sequential(layers.Dense(3, activation=tripled)), NUMBERS),
    "lambda as activation": (lambda: sequential(layers.Dense(3, activation=lambda x: x - 7)), NUMBERS),
    "LoRA that is not masked": (
        lambda: with_lora(keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dense(2)]), 1),
        NUMBERS,
    ),
}


def with_lora(model: keras.Model, position: int) -> keras.Model:
    layer = model.layers[position]
    layer.enable_lora(1)
    layer.lora_kernel_b.assign(keras.ops.ones_like(layer.lora_kernel_b))
    return model


def shown(inputs) -> tf.Tensor:
    return tf.constant([[text] for text in inputs]) if isinstance(inputs, list) else tf.constant(inputs)


@pytest.mark.parametrize("name", CARRIED)
def test_what_layers_hold_is_carried(name):
    make, inputs = CARRIED[name]
    model = make()
    expected = model(shown(inputs))
    assert np.ptp(expected, axis=0).min() > 0  # it depends on what it is shown
    masked = mask_weights(model)
    np.testing.assert_array_equal(masked(shown(inputs)), expected)
    np.testing.assert_array_equal(model(shown(inputs)), expected)
    mask = next(layer for layer in masked._flatten_layers() if isinstance(layer, MaskedLayer)).real_masks[0]
    mask.assign(np.arange(mask.shape[0] * mask.shape[1]).reshape(mask.shape) % 2 * mask)
    np.testing.assert_allclose(strip(masked)(shown(inputs)), masked(shown(inputs)), rtol=1e-6)


def losses_of(model: keras.Model) -> list[float]:
    model(NUMBERS)
    return [float(loss) for loss in model.losses]


def test_losses_metrics_and_counts_of_a_masked_layer_are_those_of_the_layer():
    settings = dict(kernel_regularizer=Square(), activity_regularizer=Square())
    model = keras.Sequential(
        [keras.Input((4,)), Observing(5, **settings), layers.Dense(2, activity_regularizer="l2")]
    )
    masked = mask_weights(model)
    expected = losses_of(model)
    assert len(expected) == 4
    np.testing.assert_allclose(sorted(losses_of(masked)), sorted(expected), rtol=1e-6)
    with keras.StatelessScope([(v, v) for v in masked.variables], collect_losses=True):
        masked(NUMBERS)
        assert float(sum(masked.losses)) == pytest.approx(sum(expected), rel=1e-5)
    layer, own = masked.layers[0].layer, model.layers[0]
    assert float(layer.mean.result()) == pytest.approx(float(own.mean.result()))
    assert float(layer.calls) == float(own.calls) == 1.0
    prices = losses_of(mask_weights(model, price=0.5))
    assert sum(prices) == pytest.approx(sum(expected) + 0.5 * 20, rel=1e-5)


def test_such_losses_are_trained():
    """A large activity regularizer moves weights, masked or not, in the same way."""
    found = []
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), layers.Dense(5, activity_regularizer="l2"), layers.Dense(2)])
    masked = mask_weights(model)
    set_trainable(masked, masks=False, weights=True)
    for network in (masked, model):
        network.compile(keras.optimizers.SGD(1e-4), "mse", jit_compile=False)
        network.fit(NUMBERS, np.zeros((6, 2)), epochs=1, shuffle=False, verbose=0)
        layer = network.layers[0]
        found.append(getattr(layer, "layer", layer).kernel.numpy())
    np.testing.assert_allclose(*found, rtol=1e-5)


def test_frozen_parts_stay_frozen():
    class Block(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.inner = layers.LayerNormalization(name="inner")

        def build(self, shape):
            self.inner.build(shape)

        def call(self, x):
            return self.inner(x)

    model = sequential(Block(name="block"))
    model.get_layer("block").inner.trainable = False
    assert mask_weights(model).get_layer("block").trainable_variables == []


class Forgetful(layers.Layer):
    """Its configuration lacks what it was given."""

    def __init__(self, gain=1.0, **kwargs):
        super().__init__(**kwargs)
        self.gain = gain

    def call(self, x):
        return x * self.gain

    def get_config(self):
        return super().get_config()


class Trained(keras.Model):
    """Trains in its own way, with settings of its own."""

    def __init__(self, units):
        image = keras.Input((4,))
        super().__init__(image, layers.Dense(2)(layers.Dense(units)(image)), name="trained")

    def train_step(self, data):
        return {}


class TrainedInOrder(keras.Sequential):
    def train_step(self, data):
        return {}


def two_heads() -> keras.Model:
    image = keras.Input((4,))
    x = layers.Dense(5, name="hidden")(image)
    return keras.Model(
        image, [layers.Dense(2, name="kind")(x), layers.Dense(3, name="breed")(x)], name="animals"
    )


def quantized(mode: str) -> keras.Model:
    model = sequential()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its input, which has nothing to quantize
        model.quantize(mode)
    return model


def set_later() -> keras.Model:
    model = sequential(Forgetful(name="forgetful"))
    model.get_layer("forgetful").gain = 4.0
    return model


class Tied(layers.Layer):
    """Has the variables of another layer, and makes that anew from its configuration."""

    def __init__(self, to, **kwargs):
        super().__init__(**kwargs)
        self.to = to

    def call(self, x):
        return x @ keras.ops.transpose(self.to.kernel)

    def get_config(self):
        return super().get_config() | {"to": keras.saving.serialize_keras_object(self.to)}

    @classmethod
    def from_config(cls, config):
        return cls(**config | {"to": keras.saving.deserialize_keras_object(config["to"])})


class Scaled(layers.Dense):
    """Reads more than one tensor."""

    def call(self, x, scale):
        return super().call(x) * scale


def tied(to_lambda: bool) -> keras.Model:
    image, first = keras.Input((4,)), layers.Dense(5, name="first")
    back = Tied(first, name="tied")
    if to_lambda:
        back = layers.Lambda(lambda x: x @ keras.ops.transpose(first.kernel), name="tied")
    return keras.Model(image, layers.Dense(2)(back(first(image))))


def scaled() -> keras.Model:
    image = keras.Input((4,))
    x = Scaled(3, name="scaled")(image, scale=keras.ops.max(image, axis=-1, keepdims=True))
    return keras.Model(image, layers.Dense(2)(x))


REFUSED = {
    "int8": (lambda: quantized("int8"), r"'hidden': .*received results of LoRA or quantization"),
    "int4": (lambda: quantized("int4"), r"'hidden': .*received results of LoRA or quantization"),
    "float8": (lambda: quantized("float8"), r"'hidden': .*received results of LoRA or quantization"),
    "LoRA": (lambda: with_lora(sequential(), 0), r"'hidden': .*received results of LoRA or quantization"),
    "settings lost": (
        lambda: sequential(Forgetful(3.0, name="forgetful")),
        r"something else: layer 'forgetful' of class Forgetful keeps something",
    ),
    "attribute set later": (set_later, r"layer 'forgetful' of class Forgetful keeps something"),
    "own layer with variables": (
        lambda: sequential(Own(tripled, weighted=True)),
        r"layer 'own': expected a layer that get_config and from_config make again, received Own",
    ),
    "own model": (lambda: Trained(3), r"received 'trained' of class Trained.*keras.Model\(model.input, "),
    "own sequential model": (
        lambda: TrainedInOrder([keras.Input((4,)), layers.Dense(3), layers.Dense(2)]),
        r"of class TrainedInOrder.*keras.Model\(model.inputs\[0\], ",
    ),
    "own model inside": (
        lambda: keras.Sequential([keras.Input((4,)), Trained(3), layers.Dense(2)]),
        r"received 'trained' of class Trained",
    ),
    "tied layers": (
        lambda: tied(False),
        r"layer 'tied': expected variables of its own, received 'first/kernel'",
    ),
    "tied by a Lambda": (
        lambda: tied(True),
        r"something else: a layer keeps .* or reads the variables of another",
    ),
    "more inputs": (
        scaled,
        r"layer 'scaled': expected .*called as they are, .*argument 'scale'\): leave the layer out",
    ),
    "name with a blank": (
        lambda: sequential(layers.Dense(3, name="a b")),
        r"^model 'sequential.*': expected layers whose copies can be called .* leave the layer out",
    ),
    "two heads": (two_heads, r"'animals' with 2 outputs: say which .* not in \['breed', 'kind'\]"),
    "masked twice": (lambda: mask_weights(sequential()), r"has masks already, in hidden: train those"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_carried_is_refused_in_one_line(name):
    make, message = REFUSED[name]
    with pytest.raises(ValueError, match=message) as caught:
        mask_weights(make())
    assert "\n" not in str(caught.value)


def test_a_recurrent_layer_goes_on_where_it_stopped():
    model = keras.Sequential(
        [keras.Input(batch_shape=(6, 4, 1)), layers.Dense(3), layers.GRU(3, stateful=True), layers.Dense(2)]
    )
    first = model(NUMBERS[..., None] / 50)
    masked = mask_weights(model)
    expected = model(NUMBERS[..., None] / 50)
    assert np.abs(expected - first).max() > 0
    np.testing.assert_array_equal(masked(NUMBERS[..., None] / 50), expected)


def test_values_given_for_a_call_are_those_of_a_masked_layer_too():
    model = sequential()
    masked = mask_weights(model)
    given = [
        [variable + 1.0 * ("mask" not in variable.name) for variable in network.trainable_variables]
        for network in (model, masked)
    ]
    expected, _ = model.stateless_call(given[0], [], NUMBERS)
    np.testing.assert_array_equal(masked.stateless_call(given[1], [], NUMBERS)[0], expected)


def test_the_network_of_a_class_of_ones_own_can_be_masked():
    model = Trained(3)
    masked = mask_weights(keras.Model(model.input, model.output))
    np.testing.assert_array_equal(masked(NUMBERS), model(NUMBERS))


def test_a_class_that_keeps_keras_own_beginning_is_kept():
    class Stepping(keras.Model):
        def train_step(self, data):
            return {}

    image = keras.Input((4,))
    masked = mask_weights(Stepping(image, layers.Dense(2)(layers.Dense(3)(image))))
    assert isinstance(masked, Stepping)


def test_heads_are_masked_as_one_says():
    masked = mask_weights(two_heads(), choose=lambda layer: layer.name not in ["breed", "kind"])
    assert [layer.name for layer in masked.layers if isinstance(layer, MaskedLayer)] == ["hidden"]


def test_further_layers_of_a_masked_model_can_be_masked():
    masked = mask_weights(mask_weights(sequential(), price=1.0), choose=lambda layer: True, price=2.0)
    assert [layer.price for layer in masked.layers] == [1.0, 2.0]
    with pytest.raises(ValueError, match="expected a layer without masks"):
        MaskedLayer(masked.layers[0])


def test_a_layer_that_draws_random_numbers_is_not_taken_for_another():
    class Noise(layers.Layer):
        def call(self, x):
            return x + keras.random.normal(keras.ops.shape(x))

    assert mask_weights(sequential(Noise())).count_params() == sequential().count_params() + 20


def test_the_model_is_left_as_it_was():
    """The comparison calls it, but what it counts is what it was."""
    model = keras.Sequential([keras.Input((4,)), Observing(5), layers.Dropout(0.5), layers.Dense(2)])
    before = losses_of(model), [variable.numpy() for variable in model.variables]
    mask_weights(model)
    assert float(model.layers[0].calls) == 1.0
    after = [variable.numpy() for variable in model.variables]
    assert (losses_of(model), len(after)) == (before[0], len(before[1]))
    assert all(np.array_equal(*pair) for pair in zip(after, before[1], strict=True))


def test_inputs_of_all_kinds_are_compared():
    inputs = {
        "image": keras.Input((None, None, 3), name="image"),
        "word": keras.Input((1,), dtype="string", name="word"),
        "number": keras.Input((2,), dtype="int32", name="number"),
        "known": keras.Input((1,), dtype="bool", name="known"),
    }
    lookup = adapted(layers.StringLookup(output_mode="one_hot"), WORDS)
    parts = [
        layers.GlobalAveragePooling2D()(Forgetful(2.0, name="forgetful")(inputs["image"])),
        lookup(inputs["word"]),
        layers.Flatten()(layers.Embedding(3, 2)(inputs["number"])),
        keras.ops.cast(inputs["known"], "float32"),
    ]
    hidden = layers.Dense(4, name="hidden")(layers.Concatenate()(parts))
    model = keras.Model(inputs, {"kind": layers.Dense(2)(hidden)})
    with pytest.raises(ValueError, match="layer 'forgetful'"):
        mask_weights(model)
