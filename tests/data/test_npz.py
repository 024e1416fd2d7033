"""npz:FILE: what it reads and what it refuses."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmnas_tf.data import load_dataset

RNG = np.random.default_rng(3)


def arrays(**changes) -> dict[str, np.ndarray]:
    fields = {
        "x_train": RNG.integers(0, 256, (12, 6, 5, 3)).astype(np.uint8),
        "y_train": np.arange(12) % 3,
        "x_test": RNG.integers(0, 256, (4, 6, 5, 3)).astype(np.uint8),
        "y_test": np.arange(4) % 3,
    }
    return fields | changes


def load(tmp_path, fields, **options):
    np.savez(tmp_path / "set.npz", **fields)
    return load_dataset(f"npz:{tmp_path / 'set.npz'}", **options)


def test_reads_arrays_as_they_are(tmp_path):
    fields = arrays()
    dataset = load(tmp_path, fields)
    assert np.array_equal(dataset.x_train, fields["x_train"])
    assert np.array_equal(dataset.y_test, fields["y_test"])
    assert dataset.class_names == ("0", "1", "2")
    assert dataset.version.startswith("sha256:")
    assert load(tmp_path, fields).version == dataset.version
    assert load(tmp_path, arrays(x_test=fields["x_test"] ^ 1)).version != dataset.version


def test_grey_names_columns_and_floats(tmp_path):
    grey = RNG.integers(0, 256, (12, 6, 5)).astype(np.uint8)
    fields = arrays(
        x_train=grey.astype(np.float32) / 255,
        y_train=(np.arange(12) % 3)[:, None],
        x_test=grey[:4],
        class_names=np.array(["cat", "dog", "eel"]),
    )
    dataset = load(tmp_path, fields)
    assert np.array_equal(dataset.x_train, grey[..., None])
    assert dataset.y_train.shape == (12,)
    assert dataset.class_names == ("cat", "dog", "eel")


def test_size_and_counts_are_honoured(tmp_path):
    dataset = load(tmp_path, arrays(), image_size=4, train_examples=7)
    assert dataset.x_train.shape == (7, 4, 4, 3)
    assert dataset.x_test.shape == (4, 4, 4, 3)


NAN = np.full((12, 6, 5, 3), np.nan, np.float32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": NAN}, "x_train has values that are not finite"),
        (
            {"x_train": np.full((12, 6, 5, 3), 9.0)},
            r"floats must lie in 0\.\.1, or in 0\.\.255 .* got 9\.\.9",
        ),
        ({"x_train": np.zeros((12, 6, 5, 3), np.uint16)}, "got uint16; scale it"),
        ({"x_train": np.zeros((12, 6, 5, 3), np.int64)}, "got int64"),
        ({"x_train": np.zeros((12, 90), np.uint8)}, r"x_train must be \[N, H, W\].*got \[12, 90\]"),
        ({"x_train": np.zeros((12, 3, 6, 5), np.uint8)}, "channels last"),
        ({"x_train": np.array([None] * 12)}, "x_train is an array of Python objects"),
        ({"x_test": np.zeros((4, 6, 6, 3), np.uint8)}, "resize them to one size"),
        ({"x_test": np.zeros((0, 6, 5, 3), np.uint8), "y_test": np.zeros(0, int)}, "at least one"),
        ({"y_train": np.eye(3)[np.arange(12) % 3]}, "argmax"),
        ({"y_train": np.arange(11) % 3}, r"\[12\], got \[11\]"),
        ({"y_train": np.arange(12) % 3 - 1}, r"got -1\.\.1"),
        ({"y_train": np.zeros(12, int), "y_test": np.zeros(4, int)}, "at least 2"),
        ({"class_names": np.array(["cat", "dog"])}, r"2 classes need labels in 0\.\.1, got 0\.\.2"),
        ({"class_names": np.arange(3)}, "class_names must be a list of strings"),
    ],
)
def test_refuses(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        load(tmp_path, arrays(**changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "shape",
    [(12, 4, 64, 64), (12, 12, 64, 64), (12, 3, 6, 5), (12, 1, 8, 8), (12, 200, 32, 32), (12, 5, 20, 30)],
)
def test_channels_that_may_be_first_are_asked_about_until_the_layout_is_told(tmp_path, shape):
    x = np.zeros(shape, np.uint8)
    fields = arrays(x_train=x, x_test=x[:4])
    with pytest.raises(ValueError, match=r"channels last.*transpose it by \(0, 2, 3, 1\).*layout='NHWC'"):
        load(tmp_path, fields)
    assert load(tmp_path, fields | {"layout": "NHWC"}).image_shape == shape[1:]
    assert load(tmp_path, fields | {"layout": "NCHW"}).image_shape == (*shape[2:], shape[1])
    with pytest.raises(ValueError, match="layout must be one of NHWC, NCHW, got 'CHW'"):
        load(tmp_path, fields | {"layout": "CHW"})


@pytest.mark.parametrize("layout", ["NCHW", "NHWC", ""])
def test_grey_images_have_no_channels_to_be_first(tmp_path, layout):
    x = RNG.integers(0, 256, (12, 6, 5)).astype(np.uint8)
    dataset = load(tmp_path, arrays(x_train=x, x_test=x[:4], layout=layout))
    assert np.array_equal(dataset.x_train[..., 0], x)


@pytest.mark.parametrize(
    "shape", [(12, 64, 64, 12), (12, 32, 32, 200), (12, 8, 10, 4), (12, 4, 4, 4), (12, 6, 5, 2)]
)
def test_channels_that_are_last_are_not_asked_about(tmp_path, shape):
    x = np.zeros(shape, np.uint8)
    assert load(tmp_path, arrays(x_train=x, x_test=x[:4])).image_shape == shape[1:]


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (
            np.full((12, 6, 5, 3), 4000, np.uint16),
            r"got uint16; scale it; it ends at 4000, so 4095 .*\(x / 16.0588\)",
        ),
        (np.full((12, 6, 5, 3), 65535, np.uint16), r"got uint16; scale it.*\(x / 257\).round"),
        (np.full((12, 6, 5, 3), 200, np.int32), r"got int32; .*x.astype\('uint8'\)"),
        (np.full((12, 6, 5, 3), -4, np.int16), "got int16; it holds -4..-4"),
        (np.ones((12, 6, 5, 3), bool), r"got bool; .*\* 255"),
        (np.ones((12, 6, 5, 3), complex), "got complex128"),
        (np.full((12, 6, 5, 3), "7"), "got <U1"),
        (np.zeros((12, 6, 5), [("r", "u1"), ("g", "u1")]), "got .*'r'"),
        (np.full((12, 6, 5, 3), 4095 / 65535), "floats in 0..1 that end at 0.0624.* nearly black; divide"),
    ],
)
def test_ranges_that_would_be_nearly_black_are_asked_about(tmp_path, images, words):
    with pytest.raises(ValueError, match=words) as caught:
        load(tmp_path, arrays(x_train=images, x_test=images[:4]))
    assert "\n" not in str(caught.value)


def test_names_the_missing_array(tmp_path):
    fields = arrays()
    del fields["y_test"]
    with pytest.raises(ValueError, match="lacks y_test: it has x_train, y_train, x_test"):
        load(tmp_path, fields)
    with pytest.raises(ValueError, match=r"it has arr_0, arr_1, arr_2, arr_3, arr_4, \.\.\. \(99\); name"):
        load(tmp_path, {f"arr_{number}": np.zeros(1) for number in range(99)})


def test_refuses_files_that_are_no_archive(tmp_path):
    path = tmp_path / "set.npz"
    with pytest.raises(ValueError, match="no file"):
        load_dataset(f"npz:{path}")
    with pytest.raises(ValueError, match="needs a file"):
        load_dataset("npz:")
    path.write_bytes(b"not a zip file at all")
    with pytest.raises(ValueError, match="is not an .npz archive"):
        load_dataset(f"npz:{path}")
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="is not an .npz archive"):
        load_dataset(f"npz:{path}")
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(ValueError, match="single array"):
        load_dataset(f"npz:{tmp_path / 'one.npy'}")


def test_names_the_damaged_array(tmp_path):
    fields = arrays()
    np.savez(tmp_path / "set.npz", **fields)
    content = bytearray((tmp_path / "set.npz").read_bytes())
    middle = content.index(fields["x_train"].tobytes()[:50])
    content[middle] ^= 255
    (tmp_path / "set.npz").write_bytes(content)
    with pytest.raises(ValueError, match="x_train is damaged"):
        load_dataset(f"npz:{tmp_path / 'set.npz'}")


def test_members_that_are_no_arrays_are_named(tmp_path):
    np.savez(tmp_path / "set.npz", **arrays())
    with zipfile.ZipFile(tmp_path / "set.npz") as old, zipfile.ZipFile(tmp_path / "new.npz", "w") as new:
        for name in old.namelist():
            new.writestr(name, b"" if name == "y_test.npy" else old.read(name))
    with pytest.raises(ValueError, match="y_test is no array"):
        load_dataset(f"npz:{tmp_path / 'new.npz'}")


def test_arrays_of_other_names_are_told(tmp_path):
    others = {f"x_{part}": np.zeros(3) for part in ("val", "b", "c", "d", "e", "f")}
    notice = load(tmp_path, arrays(**others)).notices[-1]
    assert notice.endswith(
        "6 of its arrays not used, as they have other names: x_val, x_b, x_c, x_d, x_e, ... (6)"
    )


WHOLE = io.BytesIO()
np.savez_compressed(WHOLE, **arrays(x_train=np.zeros((12, 6, 5, 3), np.uint8)))


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1), st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=3))
def test_a_damaged_archive_is_one_line_or_a_set(tmp_path_factory, length, changes):
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    content = bytearray(WHOLE.getvalue())
    for place, value in changes:
        content[int(place * len(content))] = value
    path.write_bytes(content[: int(length * len(content)) or None])
    try:
        load_dataset(f"npz:{path}")
    except ValueError as error:
        assert len(str(error).splitlines()) == 1
