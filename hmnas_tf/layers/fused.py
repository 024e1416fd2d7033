"""TensorFlow kernels that Keras does not offer and that keep graphs small; the one file of layers with `tf` in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from hmnas_tf.layers.learning import WEIGHTS, is_fixed

NARROW = 3  # columns of the widest kernel whose gradient oneDNN computes fast
_CONSTANTS = "_hmnas_tf_constants"  # attribute of a graph: they live as long as it does


def read(variable: Any) -> Any:
    """Returns the value of a variable; everything computed from it then reads the variable once."""
    return tf.convert_to_tensor(variable)


def constant(values: Any, dtype: str = "float32") -> Any:
    """Returns a constant, in a graph the same one for the same values: there would be thousands."""
    values = np.asarray(values, dtype)
    if tf.executing_eagerly():
        return tf.constant(values)
    graph = tf.compat.v1.get_default_graph()
    if not hasattr(graph, _CONSTANTS):
        setattr(graph, _CONSTANTS, {})
    made, key = getattr(graph, _CONSTANTS), (dtype, values.shape, values.tobytes())
    if key not in made:
        with tf.control_dependencies(None):
            made[key] = tf.constant(values)
    return made[key]


def fill(size: int, value: Any) -> Any:
    """Returns a vector of a value that may be a tensor."""
    return tf.fill(constant([size], "int32"), value)


def reshape(x: Any, shape: Sequence[int]) -> Any:
    """Returns `x` in a known shape."""
    return tf.reshape(x, constant(shape, "int32"))


def split(x: Any, sizes: Sequence[int], axis: int) -> list[Any]:
    """Returns pieces of `sizes`, in one node; Keras' `split` computes the sizes in the graph."""
    return tf.split(x, list(sizes), axis=axis)


def add(tensors: Sequence[Any]) -> Any:
    """Returns the sum of tensors of one shape, in one pass over memory."""
    return tf.add_n(tensors) if len(tensors) > 1 else tensors[0]


def pointwise(x: Any, kernel: Any, transposed: bool = False) -> Any:
    """Returns a 1x1 convolution: x [batch, height, width, channels], kernel [channels, filters] or `transposed`.

    As a product of matrices it is faster than as an Einsum or a convolution, above all on the way back.
    """
    rows = tf.matmul(reshape(x, [-1, x.shape[-1]]), kernel, transpose_b=transposed)
    return _like(rows, x, rows.shape[-1])


def _like(values: Any, x: Any, *last: int) -> Any:
    """Returns values in the shape of `x`, its last axes replaced by `last` if there are any."""
    shape = [*_shape(x)[: len(x.shape) - len(last)], *last]
    return tf.reshape(values, constant(shape, "int32") if x.shape.is_fully_defined() else shape)


def combine(shared: Sequence[Any], weights: Any) -> list[Any]:
    """Returns sum_k weights[e, k] * shared[k] for each edge e, in one matrix product for all edges.

    `shared` are of one shape [batch, height, width, channels], `weights` [edges, results].
    """
    rows = tf.matmul(weights, tf.stack([reshape(x, [-1]) for x in shared]))
    return [_like(row, shared[0]) for row in tf.unstack(rows, weights.shape[0])]


def convolution(x: Any, kernel: Any, strides: int = 1) -> Any:
    """Returns a convolution over all channels, like `depthwise`; kernel [size, size, channels, filters]."""
    x, padding = _padded(x, kernel.shape[0], strides)
    return tf.nn.conv2d(x, kernel, strides, padding)


def depthwise(x: Any, kernel: Any, strides: int = 1, padded: bool = False) -> Any:
    """Returns a depthwise convolution, padded by half of the kernel on all sides unless it was `padded` before.

    The gradient of a wide kernel is taken from slices of its columns, because oneDNN has a fast one up to a width of
    three only: a third of the time for 5x5.

    Args:
        x: [batch, height, width, channels].
        kernel: [size, size, channels, 1], of odd size.
        strides: in both directions.

    Returns:
        [batch, ceil(height / strides), ceil(width / strides), channels].
    """
    size, channels = kernel.shape[1], x.shape[-1]
    every = dict(strides=[1, strides, strides, 1])

    def convolved(x: Any) -> Any:
        x, padding = (x, "VALID") if padded else _padded(x, size, strides)
        return tf.raw_ops.DepthwiseConv2dNative(input=x, filter=kernel, padding=padding, **every)

    if size <= NARROW or is_fixed(WEIGHTS):
        return convolved(x)

    @tf.custom_gradient
    def convolve(x: Any, kernel: Any) -> tuple[Any, Any]:
        def gradients(upstream: Any) -> tuple[Any, Any]:
            whole = x if padded else tf.pad(x, _around(size))
            slices = []
            for left in range(0, size - 1, 2):  # even, so that a stride of 2 meets it
                width = NARROW if left == size - NARROW else 2
                positions = (whole.shape[2] - width) // strides + 1  # of such a kernel in a row
                pads = [left // strides, positions - upstream.shape[2] - left // strides]
                columns = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
                    input=whole,
                    filter_sizes=[size, width, channels, 1],
                    out_backprop=tf.pad(upstream, [[0, 0], [0, 0], pads, [0, 0]]),
                    padding="VALID",
                    **every,
                )
                slices.append(columns)
            return depthwise_transposed(upstream, kernel, strides, _shape(x), padded), tf.concat(slices, 1)

        return convolved(x), gradients

    return convolve(x, kernel)


def depthwise_transposed(
    upstream: Any, kernel: Any, strides: int, shape: Sequence[Any], padded: bool = False
) -> Any:
    """Returns the gradient of `depthwise` in its input of a shape."""
    batch, height, width, channels = shape
    border = 0 if strides == 1 or padded else kernel.shape[1] // 2
    found = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
        input_sizes=[batch, height + 2 * border, width + 2 * border, channels],
        filter=kernel,
        out_backprop=upstream,
        strides=[1, strides, strides, 1],
        padding="VALID" if strides > 1 or padded else "SAME",
    )
    return tf.slice(found, [0, border, border, 0], shape) if border else found


def _shape(x: Any) -> list:
    """Returns the shape of `x`, numbers where it is known."""
    if x.shape.is_fully_defined():
        return list(x.shape)
    return [size or dynamic for size, dynamic in zip(x.shape, tf.unstack(tf.shape(x)), strict=True)]


def _padded(x: Any, size: int, strides: int) -> tuple[Any, str]:
    """Returns what a convolution reads, and its padding; with strides "SAME" would pad unevenly."""
    return (x, "SAME") if strides == 1 else (tf.pad(x, _around(size)), "VALID")


def _around(size: int) -> list[list[int]]:
    return [[0, 0], [size // 2] * 2, [size // 2] * 2, [0, 0]]


def linear(function: Callable, transposed: Callable) -> Callable:
    """Returns a linear function of one tensor with a gradient in that tensor only, for which nothing need be kept.

    Args:
        function: of a tensor.
        transposed: takes the gradient of the result and the shape of the tensor to the gradient of the tensor.
    """

    @tf.custom_gradient
    def call(x: Any) -> tuple[Any, Callable]:
        shape = _shape(x)
        return function(x), lambda upstream: transposed(upstream, shape)

    return call


def odd_pixels(x: Any) -> Any:
    """Returns `x[:, 1::2, 1::2]`, with zeros for a last row and column that an odd size lacks.

    [batch, height, width, channels] becomes [batch, ceil(height / 2), ceil(width / 2), channels]. On a CPU a slice
    with strides in the middle axes takes three times as long.
    """
    _, height, width, _ = x.shape
    return tf.split(tf.space_to_batch(x, [2, 2], [[0, height % 2], [0, width % 2]]), 4)[3]


def apart(x: Any, rate: int) -> Any:
    """Returns `rate`**2 images for each image, each of every `rate`-th pixel, padded by zeros to one size.

    [batch, height, width, channels] becomes [rate**2 * batch, ceil(height / rate), ceil(width / rate), channels]. A
    convolution between this and `together` is one whose taps are `rate` pixels apart.
    """
    return x if rate == 1 else tf.space_to_batch(x, [rate, rate], _missing(x.shape, rate))


def together(parts: Any, rate: int, size: Sequence[int] | None = None) -> Any:
    """Undoes `apart` for images of `size` (height, width), or of any size of which `rate` is a divisor."""
    crops = [[0, 0], [0, 0]] if size is None else _missing((None, *size), rate)
    return parts if rate == 1 else tf.batch_to_space(parts, [rate, rate], crops)


def _missing(shape: Sequence[int], rate: int) -> list[list[int]]:
    return [[0, -size % rate] for size in shape[1:3]]


def replicas() -> int:
    """Returns how many replicas train together."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def built_once(function: Callable) -> Callable:
    """Returns a function of tensors that a graph holds once for each shape of its arguments, not once a call.

    It stays one when the graph runs, which starts much sooner than a graph into which all calls are copied. But it
    then computes all its gradients whenever one is needed: what needs none must be cut off inside. Several replicas,
    which may exchange values inside, and programs without a graph call it as it is.
    """
    graph = tf.function(function, autograph=False, experimental_attributes={"_noinline": True})
    return lambda *args: (function if tf.executing_eagerly() or replicas() > 1 else graph)(*args)


def normalize_batch(x: Any, scale: Any, offset: Any, epsilon: float) -> tuple[Any, Any, Any]:
    """Normalises a batch by its own statistics.

    Args:
        x: [batch, height, width, channels].
        scale: float32 [channels].
        offset: float32 [channels].
        epsilon: added to the variance.

    Returns:
        The result like `x`, the mean and the unbiased variance, float32 [channels].
    """
    nothing = constant([])
    return tf.raw_ops.FusedBatchNormV3(
        x=x, scale=scale, offset=offset, mean=nothing, variance=nothing, epsilon=epsilon, is_training=True
    )[:3]


def biased_share(x: Any) -> Any:
    """Returns the biased variance of the channels of `x` by the unbiased one: (n - 1) / n of n pixels."""
    if x.shape.is_fully_defined():  # a number, not nodes of the graph
        count = float(x.shape.num_elements() // x.shape[-1])
    else:
        count = tf.cast(tf.size(x) // x.shape[-1], tf.float32)
    return (count - 1.0) / count


def normalize(x: Any, scale: Any, offset: Any, mean: Any, variance: Any, epsilon: float) -> Any:
    """Normalises by given statistics; shapes as in `normalize_batch`."""
    return tf.raw_ops.FusedBatchNormV3(
        x=x, scale=scale, offset=offset, mean=mean, variance=variance, epsilon=epsilon, is_training=False
    )[0]
