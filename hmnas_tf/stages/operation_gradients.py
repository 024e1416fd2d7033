"""How fast the weights of operations learn while a supernet mixes them (a DECISION; the paper leaves it at `mixed`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from hmnas_tf.layers.masked_kernel import MaskedKernel
from hmnas_tf.layers.mixed_operation import MixedOperation
from hmnas_tf.networks.supernet import Supernet
from hmnas_tf.space.topology import edges_from


def mixed(supernet: Supernet, found: Sequence[Any]) -> list[Any]:
    """Leaves the gradients of `supernet.network_weights` as they are."""
    return list(found)


def alone(supernet: Supernet, found: Sequence[Any]) -> list[Any]:
    """Returns gradients of `supernet.network_weights`, those of operations divided by what these are mixed with.

    An operation stands behind softmax(alpha) * softmax(beta), about 1/7 * 1/3 at the beginning, and the gradient of its
    weights with it, though the batch normalization behind them undoes any scale of the weights themselves. Divided,
    its convolutions learn as fast as if it stood alone. What the network computes is not changed. Operations of one's
    own, whose variables no edges share, stay as they are.

    Args:
        supernet: built.
        found: gradients, one each.
    """
    factors: dict[int, Any] = {}
    for cell, group in zip(supernet.cells, supernet.groups, strict=True):
        operations, edges = supernet.encodings[group].importances()
        importances = operations * ops.expand_dims(edges, -1)
        for mixture, rows in zip(cell.mixed, edges_from(cell.nodes), strict=True):
            kernels = mixture.flats.kernel
            if kernels.parts:
                own = ops.take(importances, np.array(rows), axis=0)
                factors[id(kernels.variable)] = ops.take(own, _owners(mixture), axis=1)
    return [
        gradient / factors[id(variable)] if id(variable) in factors else gradient
        for gradient, variable in zip(found, supernet.network_weights, strict=True)
    ]


def _owners(mixture: MixedOperation) -> np.ndarray:
    """Returns for each column of a mixed operation's kernels the position of the operation whose it is."""
    owners = {
        id(layer.kernel): position
        for position, candidate in enumerate(mixture.candidates)
        for layer in candidate._flatten_layers()
        if isinstance(layer, MaskedKernel)
    }
    return np.concatenate([np.full(part.size, owners[id(part)]) for part in mixture.flats.kernel.parts])


OPERATION_GRADIENTS = {"mixed": mixed, "alone": alone}
