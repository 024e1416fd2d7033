"""Image files of every depth, with broken notes, damaged in any way: read upright and whole, or one line."""

from __future__ import annotations

import io
import os
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hmnas_tf.data import load_dataset
from hmnas_tf.data.image_files import FULL, highest_value, read_head, read_image, white_of

RAMP = np.linspace(0, 1, 64).reshape(8, 8)


def deep(highest: int) -> np.ndarray:
    return np.round(RAMP * highest).astype(np.uint16)


def pgm(path, values, white=FULL):
    path.write_bytes(b"P5\n8 8\n%d\n" % white + values.astype(">u2").tobytes())


def plain_pgm(path, values):
    path.write_bytes(b"P2\n8 8\n65535\n" + " ".join(map(str, values.ravel())).encode())


GREY = {
    "x.png": lambda path, values: Image.fromarray(values).save(path),
    "x.tif": lambda path, values: Image.fromarray(values).save(path),
    "x32.tif": lambda path, values: Image.fromarray(values.astype(np.int32)).save(path),
    "x.pgm": pgm,
    "plain.pgm": plain_pgm,
}


def fill(root, write, name, values):
    for number, kind in enumerate(("dark", "light")):
        for index in range(4):
            (root / kind).mkdir(exist_ok=True, parents=True)
            write(root / kind / f"{index}{name}", (values * (1 - 0.4 * (1 - number))).astype(np.uint16))
    return load_dataset(f"folder:{root}")


@pytest.mark.parametrize(("highest", "white"), [(1023, 1023), (1000, 1023), (4095, 4095), (16383, 16383)])
@pytest.mark.parametrize("name", GREY)
def test_the_bits_that_are_there_are_used(name, highest, white, tmp_path):
    dataset = fill(tmp_path, GREY[name], name, deep(highest))
    assert dataset.white == dataset.describe()["white"] == white
    assert len(np.unique(dataset.x_train)) > 60
    assert dataset.x_train.max() == round(255 * highest / white)
    assert f"end at {highest:,}: {white:,} is taken for white" in dataset.notices[0]
    file = tmp_path / "light" / f"0{name}"
    assert read_image(file, 1, white).tobytes() in {
        image.tobytes() for image in (*dataset.x_train, *dataset.x_test)
    }


@pytest.mark.parametrize("name", GREY)
def test_what_uses_16_bits_is_read_as_ever(name, tmp_path):
    dataset = fill(tmp_path, GREY[name], name, deep(FULL))
    assert (dataset.white, dataset.notices) == (FULL, ())
    assert "white" not in dataset.describe()
    expected = np.round(deep(FULL) / 257.0).astype(np.uint8)
    assert np.array_equal(read_image(tmp_path / "light" / f"0{name}", 1)[..., 0], expected)


def test_a_file_that_says_what_is_white_is_believed(tmp_path):
    pgm(tmp_path / "x.pgm", deep(4095), 4095)
    assert read_head(tmp_path / "x.pgm").highest == FULL
    assert read_image(tmp_path / "x.pgm", 1).max() == 255


@pytest.mark.parametrize("suffix", ["png", "ppm"])
def test_colours_that_would_be_nearly_black_are_asked_about(suffix, tmp_path):
    def write(path, values):
        colours = np.stack([values] * 3, -1)
        head = b"P6\n8 8\n65535\n"
        png = tf.io.encode_png(colours).numpy()
        path.write_bytes(png if suffix == "png" else head + colours.astype(">u2").tobytes())

    with pytest.raises(ValueError, match="other 7 images with colours of 16 bits.*nearly black; scale them"):
        fill(tmp_path / "dark", write, f"x.{suffix}", deep(4095))
    assert fill(tmp_path / "full", write, f"x.{suffix}", deep(FULL)).x_train.max() == 255


def test_white_is_what_as_many_bits_hold(tmp_path):
    assert [white_of(value) for value in (0, 1, 200, 256, 4095, 4096, 40000)] == [
        FULL, 1, 255, 511, 4095, 8191, FULL,
    ]  # fmt: skip
    Image.fromarray(deep(4095)).save(tmp_path / "x.png")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "y.png")
    assert [highest_value(tmp_path / name) for name in ("x.png", "y.png")] == [4095, 0]
    with pytest.raises(ValueError, match="values up to 4095, but those of the training pictures end at 1023"):
        read_image(tmp_path / "x.png", 1, 1023)


def exif(entries, order: str) -> bytes:
    """A block of notes with (tag, kind, count, content) as they are, sound or not."""
    block, extra = struct.pack(f"{order}H", len(entries)), b""
    for tag, kind, count, content in entries:
        block += struct.pack(f"{order}HHI", tag, kind, count)
        block += content if len(content) == 4 else struct.pack(f"{order}I", 2**20 + len(extra))
        extra += content
    head = b"II*\0" if order == "<" else b"MM\0*"
    return b"Exif\0\0" + head + struct.pack(f"{order}I", 8) + block + b"\0\0\0\0" + extra


LYING = np.zeros((8, 12, 3), np.uint8)
LYING[:, :4] = 255
ENTRY = st.tuples(
    st.sampled_from([0x10F, 0x110, 0x11A, 0x8769, 0x8825, 0x927C, 0x13B, 700]),
    st.integers(0, 14),
    st.sampled_from([0, 1, 2, 20, 2**31, 2**32 - 1]),
    st.binary(max_size=12),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ENTRY, max_size=3), st.lists(ENTRY, max_size=3), st.sampled_from("<>"), st.booleans())
def test_no_note_but_the_orientation_matters(tmp_path_factory, before, behind, order, is_jpeg):
    turned = (0x112, 3, 1, struct.pack(f"{order}HH", 6, 0))
    notes = exif([*before, turned, *behind], order)
    buffer = io.BytesIO()
    Image.fromarray(LYING).save(buffer, "JPEG" if is_jpeg else "WEBP", **({} if is_jpeg else {"exif": notes}))
    content = buffer.getvalue()
    if is_jpeg:
        content = content[:2] + b"\xff\xe1" + struct.pack(">H", len(notes) + 2) + notes + content[2:]
    path = tmp_path_factory.getbasetemp() / "turned"
    path.write_bytes(content)
    assert read_head(path)[:2] == (12, 8)
    pixels = read_image(path, 3)
    assert pixels.shape == (12, 8, 3)
    assert pixels[0].min() > 200 > 50 > pixels[-1].max()


@pytest.mark.parametrize("orientation", range(9))
def test_every_orientation_is_turned_as_pillow_does(orientation, tmp_path):
    from PIL import ImageOps

    image = Image.fromarray(np.random.default_rng(3).integers(0, 256, (4, 6, 3)).astype(np.uint8))
    notes = Image.Exif()
    notes[0x112] = orientation
    image.save(tmp_path / "x.png", exif=notes)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "x.png")))
    assert np.array_equal(read_image(tmp_path / "x.png", 3), expected)
    assert read_head(tmp_path / "x.png")[:2] == expected.shape[:2]


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_orientation_of_every_kind_of_tiff_is_turned(mode, compression, tmp_path):
    values = np.random.default_rng(3).integers(0, 256, (4, 6, 3)).astype(np.uint8)
    deep = Image.fromarray(values[..., 0] * np.uint16(257))
    image = deep if mode == "I;16" else Image.fromarray(values).convert(mode)
    image.save(tmp_path / "1.tif")
    expected = read_image(tmp_path / "1.tif", 3)
    turns = [expected, expected[:, ::-1], expected[::-1, ::-1], expected[::-1], expected.transpose(1, 0, 2)]
    turns += [np.rot90(expected, -1), np.rot90(expected[::-1], -1)[::-1, ::-1], np.rot90(expected)]
    for orientation, turned in enumerate(turns, 1):
        notes = Image.Exif()
        notes[0x112] = orientation
        image.save(tmp_path / "x.tif", exif=notes, compression=compression)
        assert read_head(tmp_path / "x.tif")[:2] == turned.shape[:2]
        assert np.array_equal(read_image(tmp_path / "x.tif", 3), turned)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"]),
    st.integers(0, 400),
    st.lists(st.tuples(st.integers(0, 399), st.integers(0, 255)), max_size=4),
)
def test_a_damaged_file_is_one_line_or_a_picture(tmp_path_factory, kind, length, changes):
    buffer = io.BytesIO()
    Image.fromarray(LYING).save(buffer, kind)
    content = bytearray(buffer.getvalue()[: length or None])
    for place, value in changes:
        if place < len(content):
            content[place] = value
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content)
    try:
        head = read_head(path)
        assert read_image(path, 3).shape == (head.height, head.width, 3)
    except ValueError as error:
        assert str(path) in str(error)
        assert len(str(error).splitlines()) == 1


def png(values, depth: int, kind: int, clear) -> bytes:
    """A PNG of one row with a value that is transparent."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    bits = "".join(f"{value:0{depth}b}" for value in np.ravel(values))
    row = int(bits.ljust(-len(bits) // 8 * -8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    head = struct.pack(">IIBBBBB", len(values), 1, depth, kind, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"tRNS", struct.pack(f">{np.size(clear)}H", *np.ravel(clear)))
        + chunk(b"IDAT", zlib.compress(b"\0" + row))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("values", "depth", "kind"),
    [
        ([0, 1], 1, 0),
        ([1, 2, 3], 2, 0),
        ([3, 7, 15], 4, 0),
        ([30, 7, 255], 8, 0),
        ([300, 5000, 65535], 16, 0),
        ([[1, 2, 3], [4, 5, 60]], 8, 2),
        ([[300, 400, 500], [9000, 5, 65535]], 16, 2),
    ],
)
def test_the_transparent_value_of_a_png_is_white_whatever_its_bits(values, depth, kind, tmp_path):
    (tmp_path / "x.png").write_bytes(png(values, depth, kind, values[0]))
    expected = np.broadcast_to(np.reshape(values, (len(values), -1)) / (2**depth - 1), (len(values), 3)) * 255
    expected = np.vstack([np.full(3, 255.0), expected[1:]])
    np.testing.assert_allclose(read_image(tmp_path / "x.png", 3)[0], expected, atol=1)


@pytest.mark.parametrize(("values", "white"), [(deep(FULL), FULL), (deep(4095), 4095), (RAMP * 255, 255)])
def test_a_tiff_whose_white_is_0_is_turned_at_any_depth(values, white, tmp_path):
    values = values.astype(np.uint8 if white == 255 else np.uint16)
    Image.fromarray(values).save(tmp_path / "x.tif")
    content = (tmp_path / "x.tif").read_bytes()
    content = content.replace(struct.pack("<HHIH", 262, 3, 1, 1), struct.pack("<HHIH", 262, 3, 1, 0))
    (tmp_path / "x.tif").write_bytes(content)
    expected = 255 - np.round(values / (white / 255))
    assert np.array_equal(read_image(tmp_path / "x.tif", 1, white)[..., 0], expected)


def bmp(pixels: bytes, bits: int, *masks: int) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 124, 2, 1, 1, bits, 3, len(pixels), 0, 0, 0, 0)
    head += struct.pack("<4I", *masks) + bytes(68)
    return b"BM" + struct.pack("<III", 14 + 124 + len(pixels), 0, 14 + 124) + head + pixels


def test_a_bmp_of_16_bits_in_all_has_8_of_each_colour_and_its_unused_alpha_hides_nothing(tmp_path):
    (tmp_path / "16.bmp").write_bytes(bmp(struct.pack("<HH", 0x4208, 0x0010), 16, 0xF800, 0x07E0, 0x1F, 0))
    assert read_head(tmp_path / "16.bmp").highest == 0
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    (tmp_path / "32.bmp").write_bytes(bmp(bytes([1, 2, 3, 0, 4, 5, 6, 0]), 32, *masks))
    assert read_image(tmp_path / "32.bmp", 3).tolist() == [[[3, 2, 1], [6, 5, 4]]]
    (tmp_path / "32.bmp").write_bytes(bmp(bytes([1, 2, 3, 0, 4, 5, 6, 255]), 32, *masks))
    assert read_image(tmp_path / "32.bmp", 3).tolist() == [[[255, 255, 255], [6, 5, 4]]]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.tif", "bands", "it is a TIFF file that is damaged, or whose number of bands"),
        ("x.png", b"\x89PNG\r\n\x1a\n", "it is a PNG file that is damaged"),
        ("x.png", b"<!DOCTYPE html>", "it is none of BMP"),
    ],
)
def test_a_file_of_a_kind_that_cannot_be_read_is_told_from_one_that_is_no_picture(
    name, content, words, tmp_path, caplog
):
    if content == "bands":  # more than Pillow knows of, which it logs
        Image.fromarray(LYING).save(tmp_path / name)
        content = (tmp_path / name).read_bytes()
        content = content.replace(struct.pack("<HHII", 277, 3, 1, 3), struct.pack("<HHII", 277, 3, 1, 13))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=words):
        read_head(tmp_path / name)
    assert caplog.records == []


def test_a_pipe_is_no_image_and_nobody_waits_for_it(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ValueError, match="no regular file"):
        read_image(tmp_path / "pipe.png", 3)
