"""All variables of a network in one file: exact, in order, all or none."""

from __future__ import annotations

import os

import keras
import numpy as np
import pytest

from hmnas_tf.storage.variables_file import load_variables, save_variables


def made(seed: int = 0) -> list[keras.Variable]:
    """Scalars, vectors and kernels with values that text would round, and two of one shape."""
    random = np.random.default_rng(seed)
    shapes = [(), (3,), (2, 3, 4), (3,), (0, 2)]
    variables = [keras.Variable(random.standard_normal(shape).astype("float32")) for shape in shapes]
    if not seed:
        variables[1].assign([np.pi, np.nextafter(np.float32(1), np.float32(2)), np.finfo("float32").tiny])
    return [*variables, keras.Variable(2**40 + seed, dtype="int64", trainable=False)]


def values(variables) -> list[np.ndarray]:
    return [variable.numpy().copy() for variable in variables]


def assert_same(first, second) -> None:
    for a, b in zip(first, second, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_round_trip_is_bitwise_and_in_order(tmp_path):
    saved, loaded = made(), made(seed=1)
    assert any(np.any(a != b) for a, b in zip(values(saved), values(loaded), strict=True))
    save_variables(tmp_path / "new" / "state.npz", saved)
    load_variables(tmp_path / "new" / "state.npz", loaded)
    assert_same(values(loaded), values(saved))
    assert os.listdir(tmp_path / "new") == ["state.npz"]


def test_more_than_ten_variables_keep_their_order(tmp_path):
    saved = [keras.Variable(float(i)) for i in range(120)]
    save_variables(tmp_path / "state.npz", saved)
    loaded = [keras.Variable(-1.0) for _ in saved]
    load_variables(tmp_path / "state.npz", loaded)
    assert [float(variable.numpy()) for variable in loaded] == list(range(120))


def test_saving_replaces_the_file_and_a_failure_keeps_it(tmp_path):
    path = tmp_path / "state.npz"
    save_variables(path, made(seed=1))
    save_variables(path, made(seed=2))
    content = path.read_bytes()
    with pytest.raises(AttributeError):
        save_variables(path, [*made(), "no variable"])
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["state.npz"]


def refused(path, variables, *parts: str) -> None:
    """Checks that loading raises one line with `parts` and leaves all variables as they were."""
    before = values(variables)
    with pytest.raises(ValueError) as caught:
        load_variables(path, variables)
    assert "\n" not in str(caught.value)
    for part in (str(path), *parts):
        assert part in str(caught.value)
    assert_same(values(variables), before)


@pytest.mark.parametrize(
    "change",
    [
        lambda variables: variables[:-1],
        lambda variables: [*variables, keras.Variable(0.0)],
        lambda variables: [variables[1], variables[0], *variables[2:]],
        lambda variables: [*variables[:2], keras.Variable(np.zeros((4, 3, 2))), *variables[3:]],
    ],
    ids=["one less", "one more", "another order", "another shape"],
)
def test_other_variables_are_refused_and_none_is_changed(change, tmp_path):
    path = tmp_path / "state.npz"
    save_variables(path, made())
    refused(path, change(made(seed=1)), "not this network's")


def test_missing_file_is_refused_with_a_remedy(tmp_path):
    refused(tmp_path / "state.npz", made(), "cannot be read", "results.json")


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04", b"\x80\x04."], ids=str)
def test_what_is_no_such_file_is_refused_with_a_remedy(content, tmp_path):
    path = tmp_path / "state.npz"
    path.write_bytes(content)
    refused(path, made(), "cannot be read", "results.json")


def test_a_single_array_is_refused_with_a_remedy(tmp_path):
    with open(tmp_path / "state.npz", "wb") as file:
        np.save(file, np.zeros(3))
    refused(tmp_path / "state.npz", made(), "cannot be read", "results.json")


def test_pickled_objects_are_never_loaded(tmp_path):
    path = tmp_path / "state.npz"
    with open(path, "wb") as file:
        np.savez(file, **{"00000": np.array([{}], dtype=object)})
    refused(path, [keras.Variable([0.0])], "cannot be read")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_cut_off_file_is_refused(share, tmp_path):
    path = tmp_path / "state.npz"
    save_variables(path, made())
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refused(path, made(seed=1), "cannot be read", "results.json")


def test_any_flipped_byte_is_refused_or_harmless(tmp_path):
    """A damaged file never breaks loading in another way, and never changes only some of the variables."""
    path = tmp_path / "state.npz"
    save_variables(path, made())
    content, loaded = path.read_bytes(), made(seed=1)
    old, new = values(loaded), values(made())
    for position in range(0, len(content), 7):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :])
        for variable, value in zip(loaded, old, strict=True):
            variable.assign(value)
        try:
            load_variables(path, loaded)
        except ValueError as error:
            assert "\n" not in str(error), position
            assert_same(values(loaded), old)
        else:
            assert_same(values(loaded), new)
