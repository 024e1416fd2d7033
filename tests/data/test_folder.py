"""folder:PATH: layouts, sizes, colours, and the file that every error names."""

from __future__ import annotations

import time

import numpy as np
import pytest
from PIL import Image

from hmnas_tf.console import progress as progress_module
from hmnas_tf.data import load_dataset
from hmnas_tf.data import memory as memory_module
from hmnas_tf.data.image_files import read_image

RNG = np.random.default_rng(4)


def picture(height: int, width: int, mode: str = "RGB") -> Image.Image:
    shape = (height, width) if mode == "L" else (height, width, 3)
    return Image.fromarray(RNG.integers(0, 256, shape).astype(np.uint8))


def fill(folder, classes, count, size=(8, 8), mode="RGB"):
    for name in classes:
        (folder / name).mkdir(parents=True)
        for index in range(count):
            picture(*size, mode).save(folder / name / f"{index:03}.png")
    return folder


def load(folder, **options):
    return load_dataset(f"folder:{folder}", **options)


def pixels(array: np.ndarray) -> list[bytes]:
    return sorted(image.tobytes() for image in array)


def test_one_folder_is_split_by_class_and_seed(tmp_path):
    fill(tmp_path, ["cat", "dog"], 10)
    dataset = load(tmp_path)
    assert dataset.class_names == ("cat", "dog")
    assert np.bincount(dataset.y_train).tolist() == [8, 8]
    assert np.bincount(dataset.y_test).tolist() == [2, 2]
    files = [np.asarray(Image.open(path)) for path in sorted(tmp_path.glob("*/*.png"))]
    assert pixels(np.concatenate([dataset.x_train, dataset.x_test])) == pixels(np.stack(files))
    labels = {image.tobytes(): index // 10 for index, image in enumerate(files)}
    assert [labels[image.tobytes()] for image in dataset.x_train] == dataset.y_train.tolist()
    assert np.array_equal(load(tmp_path).x_test, dataset.x_test)
    assert not np.array_equal(load(tmp_path, seed=1).x_test, dataset.x_test)
    assert load(tmp_path).version == dataset.version


def test_long_reading_says_how_far_it_is(tmp_path, monkeypatch):
    fill(tmp_path, ["cat", "dog"], 5)
    monkeypatch.setattr(progress_module.Progress.__init__, "__defaults__", (0.0, time.monotonic))
    lines = []
    load(tmp_path, say=lines.append)
    assert [line.split(" done")[0] for line in lines] == [
        *(f"looking at {tmp_path}, images: {count} of 10 ({count}0 %)" for count in range(1, 10)),
        *(
            f"reading {tmp_path}, training images: {count} of 8 ({100 * count // 8} %)"
            for count in range(1, 8)
        ),
        f"reading {tmp_path}, test images: 1 of 2 (50 %)",
    ]


def test_names_of_classes_may_be_any_folders_names(tmp_path):
    names = ["Ärger & Spaß", "два слова", "犬", "a b"]
    fill(tmp_path, names, 3, size=(13, 17))
    dataset = load(tmp_path)
    assert dataset.class_names == tuple(sorted(names))
    assert dataset.image_shape == (13, 17, 3)
    assert dataset.describe()["class_names"] == sorted(names)


def test_a_hundred_and_one_classes(tmp_path):
    fill(tmp_path, [f"{number:03}" for number in range(101)], 2, size=(3, 3), mode="L")
    dataset = load(tmp_path)
    assert (dataset.num_classes, len(dataset.x_train), len(dataset.x_test)) == (101, 101, 101)


def test_the_first_images_come_from_all_classes(tmp_path):
    fill(tmp_path, ["a", "b", "c"], 20, size=(2, 2))
    assert set(load(tmp_path, train_examples=20).y_train) == {0, 1, 2}
    with pytest.raises(ValueError, match="first 49 training images.*there are 48"):
        load(tmp_path, train_examples=49)


def test_train_and_test_folders(tmp_path):
    fill(tmp_path / "train", ["cat", "dog"], 3)
    fill(tmp_path / "test", ["cat", "dog"], 2)
    dataset = load(tmp_path)
    assert (len(dataset.x_train), len(dataset.x_test)) == (6, 4)
    expected = [np.asarray(Image.open(path)) for path in (tmp_path / "test").glob("*/*.png")]
    assert pixels(dataset.x_test) == pixels(np.stack(expected))


def test_files_of_the_system_are_ignored(tmp_path):
    fill(tmp_path, ["cat", "dog"], 3)
    (tmp_path / ".DS_Store").write_bytes(b"x")
    (tmp_path / "cat" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "dog" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / ".cache").mkdir()
    assert load(tmp_path).class_names == ("cat", "dog")


def test_grey_stays_grey_unless_one_file_has_colour(tmp_path):
    fill(tmp_path, ["cat", "dog"], 3, mode="L")
    assert load(tmp_path).image_shape == (8, 8, 1)
    picture(8, 8).save(tmp_path / "dog" / "colour.png")
    assert load(tmp_path).image_shape == (8, 8, 3)


def test_equal_sizes_stay_also_when_not_square(tmp_path):
    fill(tmp_path, ["cat", "dog"], 3, size=(6, 10))
    assert load(tmp_path).image_shape == (6, 10, 3)
    assert load(tmp_path, image_size=12).image_shape == (12, 12, 3)


def test_mixed_sizes_take_the_median_short_side_down_to_a_multiple_of_8(tmp_path):
    fill(tmp_path, ["cat"], 3, size=(30, 50))
    fill(tmp_path, ["dog"], 2, size=(100, 20))
    assert load(tmp_path).image_shape == (24, 24, 3)


def test_the_centre_is_kept_and_averaged(tmp_path):
    image = np.full((8, 24), 7, np.uint8)
    image[:, 8:16] = [0, 0, 0, 255, 0, 0, 0, 0]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for index in range(2):
            Image.fromarray(image).save(tmp_path / name / f"{index}.png")
    assert np.array_equal(load(tmp_path, image_size=8).x_train[0, ..., 0], image[:, 8:16])
    half = load(tmp_path, image_size=4).x_train[0, ..., 0]
    # antialiased: weights 1/8, 3/8, 3/8, 1/8 around each new pixel (3/7, 3/7, 1/7 at the border), rounded
    assert half.tolist() == [[0, round(255 * 3 / 8), round(255 / 8), 0]] * 4


def test_orientation_is_honoured(tmp_path):
    image = np.zeros((4, 6, 3), np.uint8)
    image[:, :3] = 255
    for suffix in ("png", "tif"):
        exif = Image.Exif()
        exif[0x0112] = 6  # shown turned by a quarter, clockwise
        Image.fromarray(image).save(tmp_path / f"turned.{suffix}", exif=exif)
        assert np.array_equal(read_image(tmp_path / f"turned.{suffix}", 3), np.rot90(image, -1))
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        picture(6, 4).save(tmp_path / "set" / name / "upright.png")
        for suffix in ("png", "tif"):
            (tmp_path / "set" / name / f"t.{suffix}").symlink_to(tmp_path / f"turned.{suffix}")
    assert load(tmp_path / "set").image_shape == (6, 4, 3)


def test_sixteen_bits_palettes_and_transparency(tmp_path):
    values = np.array([[0, 257, 65535], [128 * 257, 300, 1]], np.uint16)
    for suffix in ("png", "tif", "ppm"):
        Image.fromarray(values).save(tmp_path / f"deep.{suffix}")
        got = read_image(tmp_path / f"deep.{suffix}", 1)[..., 0]
        assert got.tolist() == [[0, 1, 255], [128, 1, 0]]
    clear = np.zeros((2, 2, 4), np.uint8)
    clear[0] = (10, 20, 30, 255)
    Image.fromarray(clear).save(tmp_path / "clear.png")
    assert read_image(tmp_path / "clear.png", 3)[:, 0].tolist() == [[10, 20, 30], [255, 255, 255]]
    flat = Image.fromarray(np.full((2, 2, 3), 200, np.uint8))
    flat.quantize(4).save(tmp_path / "palette.gif")
    assert (read_image(tmp_path / "palette.gif", 3) == 200).all()


def test_pictures_bands_and_transparency_are_counted(tmp_path):
    fill(tmp_path, ["cat", "dog"], 3)
    for name in ("a.gif", "b.webp", "c.tif"):
        picture(8, 8).save(tmp_path / "cat" / name, save_all=True, append_images=[picture(8, 8)])
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(
        tmp_path / "cat" / "d.tif", save_all=True, append_images=[picture(8, 8)]
    )
    Image.new("RGBX", (8, 8)).save(tmp_path / "dog" / "x.tif")
    picture(8, 8).convert("RGBA").save(tmp_path / "dog" / "z.tif")
    picture(8, 8).save(tmp_path / "dog" / "y.mpo", save_all=True, append_images=[picture(8, 8)])
    assert load(tmp_path).notices == (
        f"files with alpha, put on white: 1 of 13, such as {tmp_path}/dog/z.tif",
        f"files with more bands than grey or colours have, which are left out: 1 of 13, such as {tmp_path}/dog/x.tif",
        f"files with more than one picture, of which the first is taken: 4 of 13, such as {tmp_path}/cat/a.gif",
    )


def broken_png(path):
    picture(8, 8).save(path)
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize(
    ("name", "write", "reason"),
    [
        ("empty.png", lambda path: path.write_bytes(b""), "it is empty"),
        ("truncated.png", broken_png, "truncated|broken"),
        ("notes.txt", lambda path: path.write_text("hello"), "none of BMP, GIF"),
        ("renamed.jpg", lambda path: path.write_text("hello"), "none of BMP, GIF"),
        ("inner", lambda path: path.mkdir(), "folder inside a class"),
        ("float.tif", lambda path: Image.fromarray(np.ones((4, 4), np.float32)).save(path), "floating-point"),
        (
            "deep.tif",
            lambda path: Image.fromarray(np.full((4, 4), 70000, np.int32)).save(path),
            "outside 0..65535",
        ),
    ],
)
def test_the_bad_file_is_named(tmp_path, name, write, reason):
    fill(tmp_path, ["cat", "dog"], 3)
    write(tmp_path / "dog" / name)
    with pytest.raises(ValueError, match=reason) as caught:
        load(tmp_path)
    assert str(tmp_path / "dog" / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def only_train(root):
    fill(root / "train", ["cat", "dog"], 2)


def no_test_image(root):
    fill(root / "train", ["cat", "dog"], 2)
    fill(root / "test", ["cat"], 2)
    (root / "test" / "dog").mkdir()


def no_test_class(root):
    fill(root / "train", ["cat", "dog"], 2)
    fill(root / "test", ["cat"], 2)


def foreign_test_class(root):
    fill(root / "train", ["cat", "dog"], 2)
    fill(root / "test", ["cat", "dog", "eel"], 2)


def stray_image(root):
    fill(root, ["cat", "dog"], 2)
    picture(8, 8).save(root / "lost.png")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda root: None, "at least 2 sub-folders.*it has none"),
        (lambda root: fill(root, ["cat"], 3), "at least 2 sub-folders.*only cat/"),
        (lambda root: fill(root, ["cat", "dog"], 0), "cat has no image"),
        (lambda root: fill(root, ["cat", "dog"], 1), "cat has 1 image; at least 2"),
        (only_train, "only train/ with classes in it; it needs both"),
        (no_test_image, "test/dog has no image"),
        (no_test_class, "test.*(dog has no image|at least 2 sub-folders)"),
        (foreign_test_class, "test/eel has no counterpart"),
        (stray_image, "lost.png lies beside the class folders"),
    ],
)
def test_a_wrong_layout_is_named(tmp_path, build, message):
    build(tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        load(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match="nowhere"):
        load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="needs a path"):
        load_dataset("folder:")


def test_more_than_the_memory_is_kept_on_disk(tmp_path, monkeypatch):
    fill(tmp_path, ["cat", "dog"], 5)
    whole, lines = load(tmp_path), []
    monkeypatch.setattr(memory_module, "physical_memory", lambda: 1000)
    kept = load(tmp_path, say=lines.append)
    assert whole.describe() == kept.describe()
    assert (whole.on_disk, kept.on_disk) == (False, True)
    assert np.array_equal(whole.x_test, kept.x_test)
    assert lines[0].startswith("Notice: the 10 images of")
