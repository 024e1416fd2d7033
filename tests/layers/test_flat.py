"""Values of many layers in one variable: what a layer reads and assigns is its own part, the others' stays."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.layers import MixedOperation
from hmnas_tf.layers.flat import Flat, assign_rows, flat_of, from_row, rows
from hmnas_tf.settings.paper import PAPER_OPERATIONS

SHAPES = ((2, 3, 3, 1), (2, 5), (2, 2, 2))
ENDS = (0, 9, 14, 18)


def made() -> tuple[keras.Variable, list]:
    flat = Flat(2)
    parts = [flat.part(shape, keras.initializers.Constant(i)) for i, shape in enumerate(SHAPES)]
    return flat.add_to(keras.layers.Layer(), "values"), parts


def numbered() -> np.ndarray:
    return np.arange(2 * ENDS[-1], dtype="float32").reshape(2, -1)


def test_parts_lie_side_by_side_and_start_from_their_own_values():
    variable, parts = made()
    assert [part.shape for part in parts] == list(SHAPES)
    np.testing.assert_array_equal(variable, [[0] * 9 + [1] * 5 + [2] * 4] * 2)


def test_a_part_is_read_in_all_the_ways_of_a_variable():
    variable, parts = made()
    variable.assign(numbered())
    for part, start, stop in zip(parts, ENDS, ENDS[1:], strict=False):
        expected = numbered()[:, start:stop].reshape(part.shape)
        ways = (part.value, part.numpy(), np.asarray(part), tf.convert_to_tensor(part), part.of(numbered()))
        for found in ways:
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("in_graph", [False, True])
def test_assigning_a_part_leaves_the_others(in_graph):
    variable, parts = made()
    variable.assign(numbered())

    def assign():
        parts[1].assign(tf.fill([2, 5], -1))

    (tf.function(assign) if in_graph else assign)()
    expected = numbered()
    expected[:, 9:14] = -1
    np.testing.assert_array_equal(variable, expected)


def test_another_shape_is_refused():
    _, (part, *_) = made()
    with pytest.raises(ValueError, match=r"shape \(2, 3, 3, 1\), received \(3, 2, 3, 1\)"):
        part.assign(np.zeros((3, 2, 3, 1)))


@pytest.mark.parametrize("kind", ["parts", "some of the parts", "variables"])
def test_rows_of_layers_are_read_assigned_and_taken_apart(kind):
    """Whether or not the values are one flat variable."""
    variable, parts = made()
    variable.assign(numbered())
    values = {
        "parts": parts,
        "some of the parts": parts[:2],
        "variables": [keras.Variable(part.value) for part in parts],
    }[kind]
    assert (flat_of(values) is parts[0].flat) == (kind == "parts")
    whole = numbered()[:, : ENDS[len(values)]]
    np.testing.assert_array_equal(rows(values), whole)
    for found, value in zip(from_row(whole[1], values), values, strict=True):
        np.testing.assert_array_equal(found, value.numpy()[1])
    assign_rows(values, tf.constant(whole + 0.5))
    np.testing.assert_array_equal(rows(values), whole + 0.5)
    if kind != "variables":
        np.testing.assert_array_equal(variable.numpy()[:, whole.shape[1] :], numbered()[:, whole.shape[1] :])


@pytest.mark.parametrize("strides", [1, 2])
def test_a_mixed_operation_has_one_variable_of_each_kind_and_starts_like_single_layers(strides):
    keras.utils.set_random_seed(0)
    mixed = MixedOperation(4, edges=3, strides=strides)
    mixed.build((None, 8, 8, 4))
    assert [v.name for v in mixed.variables] == [
        "kernel",
        "real_mask",
        "moving_mean_and_variance",
        "shared_moving_mean_and_variance",
    ]
    kernels = [kernel.kernel for kernel in mixed.edge_sum.kernels]
    assert len(kernels) == len({id(kernel) for kernel in kernels}) == 12 + 2 * (strides - 1)
    keras.utils.set_random_seed(0)
    settings = dict(edges=3, strides=strides, affine=False)
    singles = [type(c).from_config(c.get_config() | settings) for c in mixed.candidates]
    for single, candidate in zip(singles, mixed.candidates, strict=True):
        single.build((None, 8, 8, 4))
        for one, other in zip(single.kernels, candidate.kernels, strict=True):
            np.testing.assert_array_equal(one.kernel, other.kernel)
            assert np.std(one.kernel) > 0.1
    assert len(singles) == len(PAPER_OPERATIONS)
