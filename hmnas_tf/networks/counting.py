"""How large and how costly a network is: parameters, non-zero parameters, multiply-adds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import keras
import numpy as np

from hmnas_tf.layers.activity import ACTIVE, GONE, RESTING
from hmnas_tf.layers.masked_kernel import MaskedKernel
from hmnas_tf.layers.operations import OPERATIONS
from hmnas_tf.networks.supernet import Supernet
from hmnas_tf.space.topology import edges_from


def parameters(variables: Iterable[keras.Variable]) -> int:
    """Returns the number of scalars in `variables`."""
    return sum(math.prod(variable.shape) for variable in variables)


def parameterless(operations: Sequence[str]) -> tuple[bool, ...]:
    """Returns for each candidate operation whether it has no convolution, and so no weights, at stride 1.

    At stride 2 an identity has weights, a factorized reduce; it is the same choice all the same. The layers are made,
    not built, so that no variable is drawn.

    Args:
        operations: names in `OPERATIONS`.
    """
    made = (OPERATIONS[name](2, name=name) for name in operations)
    return tuple(
        not any(isinstance(layer, MaskedKernel) for layer in operation._flatten_layers())
        for operation in made
    )


def nonzero_parameters(variables: Iterable[keras.Variable]) -> int:
    """Returns the number of scalars in `variables` that are not 0.

    Vectors, such as biases and offsets, count in full: they start at 0 without having been masked.
    """
    return sum(
        int(np.count_nonzero(variable.numpy())) if len(variable.shape) > 1 else math.prod(variable.shape)
        for variable in variables
    )


def multiply_adds(kernel_shape: tuple[int, ...], positions: int) -> int:
    """Returns the multiply-adds of a convolution or a dense layer: each weight once at each output position."""
    return math.prod(kernel_shape) * positions


def supernet_multiply_adds(supernet: Supernet) -> int:
    """Returns the multiply-adds of one image through all convolutions and the classifier of a supernet."""
    convolutions = sum(multiply_adds(c.kernel.shape, c.positions) for c in supernet.masked_convolutions)
    return convolutions + multiply_adds(supernet.classifier.kernel.shape, 1)


def mask_step_multiply_adds(supernet: Supernet, tables: Sequence[np.ndarray]) -> float:
    """Returns about how many multiply-adds of one image a step of mask search makes, forward and backward.

    Backward are twice as many as forward: for the gradient of the input and for that of the kernel.

    Args:
        supernet: built.
        tables: activity of the operations of each encoding; see `Supernet.set_activity`.
    """
    work = {GONE: 0.0, RESTING: 1.0, ACTIVE: 3.0}
    total = work[ACTIVE] * supernet_multiply_adds(supernet)
    for cell, group in zip(supernet.cells, supernet.groups, strict=True):
        for mixed, rows in zip(cell.mixed, edges_from(cell.nodes), strict=True):
            for candidate, column in zip(mixed.candidates, tables[group][list(rows)].T, strict=True):
                kernels = [k for k in candidate._flatten_layers() if isinstance(k, MaskedKernel)]
                of_edge = sum(multiply_adds(k.kernel.shape, k.positions) for k in kernels) / mixed.edges
                total -= of_edge * sum(work[ACTIVE] - work[int(state)] for state in column)
    return total


def network_multiply_adds(network: keras.Model) -> int:
    """Returns the multiply-adds of one image through a functional model of stock layers."""
    layers = [layer for layer in network.layers if hasattr(layer, "kernel")]
    return sum(multiply_adds(layer.kernel.shape, math.prod(layer.output.shape[1:-1])) for layer in layers)


def size_of(network: keras.Model) -> dict[str, int]:
    """Returns parameters, non-zero parameters and multiply-adds of a network of stock layers.

    Scalings by channel, which a folded network has where the derived one has batch normalizations, count as parameters.
    """
    scalings = [
        np.size(value)
        for layer in network.layers
        if isinstance(layer, keras.layers.Rescaling)
        for value in (layer.scale, layer.offset)
        if np.ndim(value)
    ]
    return {
        "params": parameters(network.trainable_variables) + sum(scalings),
        "params_nonzero": nonzero_parameters(network.trainable_variables) + sum(scalings),
        "flops": network_multiply_adds(network),
    }
