"""Networks that a person would write instead of searching, in plain Keras, at any width.

ResNet-8 is that of MLPerf Tiny (arXiv:2106.07597), which has width 16: 77,850 trainable parameters and 12.5 million
multiply-adds of a 32x32x3 image. The other is a chain of MobileNetV2's inverted residuals (arXiv:1801.04381).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import layers

from hmnas_tf.networks.counting import size_of
from hmnas_tf.settings.paper import BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM
from hmnas_tf.space.widening import last_step, part_of

EXPANSION = 3  # of an inverted residual
STEPS = 8  # widths between one number of channels and the next of the narrowest layers; each widens layers of one kind
Shape = tuple[int, int, int]


def resnet8(width: float, image_shape: Shape, num_classes: int) -> keras.Model:
    """Returns ResNet-8: three stacks of two 3x3 convolutions with width, 2 width and 4 width channels.

    Args:
        width: channels of the first stack; the others are rounded.
        image_shape: height, width, channels.
        num_classes: outputs.

    Returns:
        A functional model from `image` [batch, height, width, channels] to logits [batch, classes].
    """
    image = keras.Input(image_shape, name="image")
    x = _convolution(image, round(width), 3, 1, "stem")
    for number in range(3):
        filters, strides, name = round(2**number * width), 1 + (number > 0), f"stack{number}"
        y = _convolution(x, filters, 3, strides, f"{name}_1")
        y = _convolution(y, filters, 3, 1, f"{name}_2", relu=False)
        if strides > 1:
            x = _plain(x, filters, 1, strides, f"{name}_shortcut")
        x = layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, y]))
    return _classified(image, x, num_classes, "resnet8")


def mobilenet(width: float, image_shape: Shape, num_classes: int) -> keras.Model:
    """Returns a chain of seven inverted residuals with width to 4 width channels, of which two halve the resolution.

    Args, Returns: as of `resnet8`.
    """
    image = keras.Input(image_shape, name="image")
    x = _convolution(image, round(width), 3, 1, "stem")
    for number, (factor, strides) in enumerate(((1, 1), (2, 2), (2, 1), (2, 1), (4, 2), (4, 1), (4, 1))):
        x = _inverted_residual(x, round(factor * width), strides, f"block{number}")
    return _classified(image, x, num_classes, "mobilenet")


def _inverted_residual(x: Any, filters: int, strides: int, name: str) -> Any:
    inside = EXPANSION * x.shape[-1]
    y = _convolution(x, inside, 1, 1, f"{name}_expand")
    y = layers.DepthwiseConv2D(
        3,
        strides=strides,
        padding="same",
        use_bias=False,
        data_format="channels_last",
        name=f"{name}_depthwise",
    )(y)
    y = layers.ReLU(name=f"{name}_depthwise_relu")(_norm(y, f"{name}_depthwise_norm"))
    y = _convolution(y, filters, 1, 1, f"{name}_project", relu=False)
    return layers.Add(name=f"{name}_add")([x, y]) if x.shape == y.shape else y


def _convolution(
    x: Any, filters: int, kernel_size: int, strides: int, name: str, *, relu: bool = True
) -> Any:
    x = _norm(_plain(x, filters, kernel_size, strides, f"{name}_conv"), f"{name}_norm")
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x


def _plain(x: Any, filters: int, kernel_size: int, strides: int, name: str) -> Any:
    settings: dict[str, Any] = dict(padding="same", use_bias=False, data_format="channels_last", name=name)
    return layers.Conv2D(filters, kernel_size, strides=strides, **settings)(x)


def _norm(x: Any, name: str) -> Any:
    return layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, epsilon=BATCH_NORM_EPSILON, name=name)(x)


def _classified(image: Any, x: Any, num_classes: int, name: str) -> keras.Model:
    x = layers.GlobalAveragePooling2D(data_format="channels_last", name="pool")(x)
    return keras.Model(image, layers.Dense(num_classes, dtype="float32", name="logits")(x), name=name)


HAND_MADE: dict[str, Callable[[float, Shape, int], keras.Model]] = {
    "mobilenet": mobilenet,
    "resnet8": resnet8,
}


def of_size(name: str, image_shape: Shape, num_classes: int, bounds: Mapping[str, float]) -> keras.Model:
    """Returns the widest network of a kind that is within bounds, in steps in which layers of one width get a channel.

    Args:
        name: in `HAND_MADE`.
        image_shape: height, width, channels.
        num_classes: outputs.
        bounds: most of what `counting.size_of` counts.

    Raises:
        ValueError: if not even the narrowest is, see `require_possible`.
    """
    require_possible(name, image_shape, num_classes, bounds)

    def made(step: int) -> keras.Model:
        return HAND_MADE[name](1 + step / STEPS, image_shape, num_classes)

    return made(last_step(lambda step: part_of(size_of(made(step)), bounds)))


def require_possible(name: str, image_shape: Shape, num_classes: int, bounds: Mapping[str, float]) -> None:
    """Refuses bounds that not even the narrowest network of a kind is within; see `of_size`.

    Raises:
        ValueError: with what that costs.
    """
    size = size_of(HAND_MADE[name](1, image_shape, num_classes))
    if part_of(size, bounds) > 1:
        raise ValueError(
            f"no {name} is so small: its narrowest has {size['params']:,} parameters and {size['flops']:,} "
            "multiply-adds: ask for more, or leave it out."
        )
