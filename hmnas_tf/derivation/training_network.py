"""Drop path and an auxiliary head, which a network has only while it is trained (arXiv:1806.09055, §3.1.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from hmnas_tf.derivation.assemble import INPUT_NAME, term_name
from hmnas_tf.layers import fused
from hmnas_tf.settings.paper import BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM
from hmnas_tf.space.genotype import Genotype

AUXILIARY_POOL = (
    5  # pixels; DARTS' head, with stride 3 on CIFAR-10's 8x8 and 2 on ImageNet's 7x7 feature maps
)
AUXILIARY_LEAST = 7  # pixels: with stride 2 the pool leaves 2x2 for the head's second convolution


def training_network(
    network: keras.Model, genotype: Genotype, *, drop_path: bool, auxiliary: bool
) -> keras.Model:
    """Returns a network as it is to be trained; every layer of it is the given network's.

    Drop path (arXiv:1605.07648): what an edge contributes is multiplied by its gate, which is 0 for some images. All
    operations of an edge share its gate; an identity, which has nothing to learn, is never dropped, nor are the
    channels that pass an edge by.

    Args:
        network: assembled from the genotype.
        genotype: tells the edges.
        drop_path: whether the gates have an effect.
        auxiliary: whether a second classifier reads cell 2 * cells // 3, so that its gradient is not too far away.

    Returns:
        A model from `image` and `gates` [batch, edges that can be dropped] to the logits or, if there is an auxiliary
        head, to a list of the logits and the head's.

    Raises:
        ValueError: if the auxiliary head does not fit, see `check_auxiliary`.
    """
    dropped = _dropped_layers(network, genotype) if drop_path else {}
    head = f"cell{auxiliary_cell(genotype.topology.cells)}_"
    image = keras.Input(network.input_shape[1:], name=INPUT_NAME)
    gates = keras.Input((max(dropped.values(), default=0) + 1,), name="gates")
    features: list[Any] = []

    def call(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        y = layer(*args, **kwargs)
        if layer.name in dropped:
            gate = ops.reshape(gates[:, dropped[layer.name]], (-1, 1, 1, 1))
            y = y * ops.cast(gate, y.dtype)
        if layer.name.startswith(head):
            features[:] = [y]  # the last layer of a cell is its output
        return y

    # Cloning wants a model of the same inputs; the one used here reads its gates not at all.
    same_inputs = keras.Model([network.inputs[0], keras.Input(gates.shape[1:])], network.outputs[0])
    cloned = keras.models.clone_model(
        same_inputs, input_tensors=[image, gates], clone_function=lambda layer: layer, call_function=call
    )
    outputs = [cloned.outputs[0]]
    if auxiliary:
        if not features:
            raise ValueError(
                f"auxiliary_weight: nothing reads cell {auxiliary_cell(genotype.topology.cells)}, where the auxiliary "
                "head belongs: leave it at 0."
            )
        outputs.append(_auxiliary_head(features[0], outputs[0].shape[-1], genotype.topology.stem))
    return keras.Model([image, gates], outputs, name="training")


def auxiliary_cell(cells: int) -> int:
    """Returns the index of the cell whose output the auxiliary head reads."""
    return 2 * cells // 3


def check_auxiliary(pixels: Sequence[int]) -> None:
    """Refuses feature maps that the auxiliary head cannot read.

    Args:
        pixels: height and width of what the head reads.

    Raises:
        ValueError: if they are too small.
    """
    if min(pixels) < AUXILIARY_LEAST:
        raise ValueError(
            f"auxiliary_weight: the auxiliary head needs feature maps of {AUXILIARY_LEAST} pixels, but has "
            f"{min(pixels)}: take larger images, or leave it at 0."
        )


def _dropped_layers(network: keras.Model, genotype: Genotype) -> dict[str, int]:
    """Returns the last layers of all operations that can be dropped, each with the number of its edge's gate."""
    names = [layer.name for layer in network.layers]
    found: dict[str, int] = {}
    for index in genotype.needed_cells():
        for edge, gene in genotype.cells[index].edges():
            gate = max(found.values(), default=-1) + 1
            for operation in gene.operations:
                place = term_name(index, edge, operation.name)
                own = [name for name in names if name.startswith(f"{place}_")]
                if own and own != [f"{place}_weight"]:  # an identity has no layer but its importance
                    found[own[-1]] = gate
    return found


def _auxiliary_head(x: Any, num_classes: int, stem: str) -> Any:
    """Returns the logits of DARTS' auxiliary head; on ImageNet it goes without the last batch normalization."""
    check_auxiliary(x.shape[1:3])

    def norm(name: str) -> keras.layers.Layer:
        return keras.layers.BatchNormalization(
            momentum=BATCH_NORM_MOMENTUM,
            epsilon=BATCH_NORM_EPSILON,
            synchronized=fused.replicas() > 1,
            name=f"auxiliary_{name}",
        )

    strides = 3 if min(x.shape[1:3]) > AUXILIARY_LEAST else 2
    x = keras.layers.ReLU(name="auxiliary_relu")(x)
    x = keras.layers.AveragePooling2D(
        AUXILIARY_POOL, strides=strides, data_format="channels_last", name="auxiliary_pool"
    )(x)
    x = keras.layers.Conv2D(128, 1, use_bias=False, data_format="channels_last", name="auxiliary_pointwise")(
        x
    )
    x = keras.layers.ReLU(name="auxiliary_relu_1")(norm("bn_1")(x))
    x = keras.layers.Conv2D(768, 2, use_bias=False, data_format="channels_last", name="auxiliary_conv")(x)
    x = x if stem == "imagenet" else norm("bn_2")(x)
    x = keras.layers.GlobalAveragePooling2D(data_format="channels_last", name="auxiliary_mean")(
        keras.layers.ReLU(name="auxiliary_relu_2")(x)
    )
    return keras.layers.Dense(num_classes, dtype="float32", name="auxiliary_logits")(x)
