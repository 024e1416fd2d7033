"""Bad input is refused before it costs anything: an exit code, one line that says what came and what to do."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from forked import Command, refused, wait_for
from PIL import Image

from hmnas_tf.storage.variables_file import save_variables

CASES: dict[str, Callable[[Path, Path], tuple[Sequence[str], Sequence[str]]]] = {}
IN_A_RUN: dict[str, Callable[[Path], tuple[str, Sequence[str], Sequence[str]]]] = {}


def case(function):
    """Adds a case that is given an empty folder and the file of patterns; it returns arguments of `search` and words
    that the line must have."""
    CASES[function.__name__] = function
    return function


def in_a_run(function):
    """Adds a case that is given the copy of a finished run; it returns a command, its arguments and words."""
    IN_A_RUN[function.__name__] = function
    return function


def search(folder: Path, *arguments: str) -> list[str]:
    return [f"--workdir={folder / 'run'}", *arguments]


def flag(*arguments: str, words: Sequence[str] = ()):
    """Returns a case of flags that are wrong with the patterns."""
    return lambda folder, patterns: (search(folder, f"--dataset=npz:{patterns}", *arguments), words)


CASES |= {
    "unknown flag": flag("--no_such_flag=1", words=["no_such_flag"]),
    "flag without a number": flag("--batch_size=many", words=["batch_size", "many"]),
    "no whole number": flag(
        "--cells=three", words=["--cells=three: expected a whole number, at least 1", "--cells=3."]
    ),
    "no number": flag(
        "--holdout=half", words=["--holdout=half: expected a number", "at most 0.9", "--holdout=0.0."]
    ),
    "no boolean": flag(
        "--download=maybe", words=["--download=maybe: expected true or false", "--download=false."]
    ),
    "no value": flag("--cells", words=["--cells has no value", "--cells=VALUE"]),
    "negative number": flag("--cells=-1", words=["cells", "-1"]),
    "out of range": flag("--weight_momentum=2", words=["--weight_momentum=2", "0.999"]),
    "unknown stem": flag("--stem=vgg", words=["--stem=vgg", "cifar", "imagenet"]),
    "not a number": flag("--threshold=nan", words=["threshold", "nan"]),
    "infinite": flag("--weight_learning_rate=inf", words=["weight_learning_rate", "inf"]),
    "unknown choice": flag("--derivation=best", words=["derivation", "best", "masks"]),
    "unknown operation": flag("--operations=conv_9x9", words=["operations", "conv_9x9", "sep_conv_3x3"]),
    "operation twice": flag("--operations=identity,identity", words=["operations", "identity"]),
    "no operation": flag("--operations=", words=["operations", "at least one"]),
    "only none": flag("--operations=none", words=["operations", "none"]),
    "unknown format": flag("--formats=pickle", words=["formats", "pickle", "onnx"]),
    "contradictory augmentation": flag("--augmentation=none,crop", words=["augmentation", "none", "alone"]),
    "warm-up is all": flag(
        "--warmup_epochs=9", "--supernet_epochs=9", words=["warmup_epochs", "9", "smaller"]
    ),
    "threshold removes all": flag("--threshold=0.01", words=["threshold", "0.01", "smaller"]),
    "odd channels": flag("--initial_channels=5", words=["initial_channels", "5", "even"]),
    "nothing to inherit": flag("--genotype=DARTS_V2", words=["genotype", "random"]),
    "no such genotype": flag(
        "--genotype=DARTS_V9", "--initial_weights=random", words=["genotype", "DARTS_V9", "DARTS_V2"]
    ),
    "more devices than there are": flag("--replicas=9", words=["replicas", "9", "fewer"]),
    "batch larger than the data": flag("--batch_size=4096", words=["batch_size", "4096", "smaller"]),
    "fine-tuning batch larger than the data": flag(
        "--batch_size=16", "--finetune_batch_size=4096", words=["4096", "smaller"]
    ),
    "image too small to reduce": flag(
        "--batch_size=16", "--stem=imagenet", "--cells=20", words=["image_size"]
    ),
    "more images than there are": flag("--test_examples=100000", words=["100000"]),
}


@case
def no_workdir(folder, patterns):
    return [f"--dataset=npz:{patterns}"], ["--workdir"]


@case
def a_word_that_is_no_flag(folder, patterns):
    return [str(folder / "run"), "--dataset=digits"], [str(folder / "run"), "--name=value"]


@case
def no_such_dataset(folder, patterns):
    return search(folder, "--dataset=cifar11"), ["cifar11", "cifar10"]


@case
def images_larger_than_the_memory(folder, patterns):
    return search(folder, "--dataset=digits", "--image_size=100000"), ["GB of memory", "--image_size"]


@case
def dataset_not_prepared(folder, patterns):
    return search(folder, "--dataset=cifar10", f"--data_dir={folder}"), [
        "cifar10",
        "not prepared",
        "--download",
        "--data_dir",
    ]


@case
def workdir_below_a_file(folder, patterns):
    (folder / "file").touch()
    return [f"--workdir={folder / 'file' / 'run'}", "--dataset=digits"], [str(folder / "file")]


@case
def workdir_that_cannot_be_written(folder, patterns):
    return ["--workdir=/proc/hmnas", "--dataset=digits"], ["/proc/hmnas"]


@case
def broken_cluster(folder, patterns):
    (folder / "environment").write_text(json.dumps({"TF_CONFIG": '{"cluster": {"ps": ["a:1"]}}'}))
    return search(folder, "--dataset=digits"), ["TF_CONFIG", "worker"]


@case
def chief_of_no_cluster(folder, patterns):
    task = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}
    (folder / "environment").write_text(json.dumps({"TF_CONFIG": json.dumps(task)}))
    return search(folder, "--dataset=digits"), ["TF_CONFIG", "worker"]


# Flag files


def flag_file(content: bytes, words: Sequence[str]):
    def build(folder: Path, patterns: Path):
        (folder / "my.flags").write_bytes(content.replace(b"{folder}", str(folder).encode()))
        return search(folder, f"--flagfile={folder / 'my.flags'}", "--dataset=digits"), words

    return build


CASES |= {
    "flag file with an unknown flag": flag_file(b"--no_such_flag=1\n", ["no_such_flag"]),
    "flag file with a bad value": flag_file(b"--cells=x\n", ["cells", "x"]),
    "flag file that names itself": flag_file(b"--flagfile={folder}/my.flags\n", ["my.flags", "itself"]),
    "flag file that is no text": flag_file(b"\xff\xfe\x00\x01", ["my.flags", "UTF-8"]),
    "flag file with a comment after a value": flag_file(
        b"--data_dir=/data  # here\n", ["--data_dir=/data # here", "ends in a comment", "a line of its own"]
    ),
    "flag file with a value in quotes": flag_file(
        b"--data_dir='/my data'\n", ["--data_dir='/my data'", "in quotes", "leave it out"]
    ),
    "flag file with a word": flag_file(b"cells 3\n", ["cells"]),
}


@case
def no_such_flag_file(folder, patterns):
    return search(folder, f"--flagfile={folder / 'none.flags'}"), [
        "none.flags",
        "No such file",
        "one flag a line",
    ]


@case
def folder_as_flag_file(folder, patterns):
    return search(folder, f"--flagfile={folder}"), [str(folder), "Is a directory", "one flag a line"]


@case
def flag_file_without_a_name(folder, patterns):
    return search(folder, "--flagfile="), ["flagfile is missing a name"]


# Folders of images


def png(size=(8, 8), mode="L", seed=0) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(buffer, "png")
    return buffer.getvalue()


def images(folder: Path, classes=("ant", "bee"), count=10) -> Path:
    for number, name in enumerate(classes):
        (folder / "images" / name).mkdir(parents=True)
        for i in range(count):
            (folder / "images" / name / f"{i}.png").write_bytes(png(seed=10 * number + i))
    return folder / "images"


def bad_image(name: str, content: Callable[[], bytes], words: Sequence[str]):
    def build(folder: Path, patterns: Path):
        path = images(folder)
        (path / "bee" / name).write_bytes(content())
        return search(folder, f"--dataset=folder:{path}"), [name, *words]

    return build


def huge() -> bytes:
    """A PNG of a few bytes that says it has 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )


CASES |= {
    "empty image file": bad_image("x.png", lambda: b"", []),
    "truncated image": bad_image("x.png", lambda: png((64, 64))[:-900], []),
    "corrupt image": bad_image("x.png", lambda: png()[:60] + b"\0" * 30 + png()[90:], []),
    "not an image": bad_image("notes.txt", lambda: b"remember the milk", []),
    "huge image": bad_image("x.png", huge, []),
}


@case
def folder_that_is_not_there(folder, patterns):
    return search(folder, f"--dataset=folder:{folder / 'none'}"), ["none", "existing"]


@case
def empty_folder(folder, patterns):
    (folder / "images").mkdir()
    return search(folder, f"--dataset=folder:{folder / 'images'}"), ["2 sub-folders"]


@case
def one_class(folder, patterns):
    return search(folder, f"--dataset=folder:{images(folder, ('ant',))}"), ["ant", "2 sub-folders"]


@case
def class_without_a_test_image(folder, patterns):
    path = images(folder, ("ant", "bee", "cat"))
    for part in ("train", "test"):
        shutil.copytree(path, folder / "both" / part)
    shutil.rmtree(folder / "both" / "test" / "bee")
    return search(folder, f"--dataset=folder:{folder / 'both'}"), ["bee", "no image"]


@case
def link_to_itself(folder, patterns):
    path = images(folder)
    (path / "bee" / "loop.png").symlink_to(path / "bee" / "loop.png")
    return search(folder, f"--dataset=folder:{path}"), ["loop.png"]


@case
def folder_in_a_circle(folder, patterns):
    path = images(folder)
    (path / "bee" / "again").symlink_to(path)
    return search(folder, f"--dataset=folder:{path}"), ["again"]


# Archives of arrays


def arrays(words: Sequence[str], **changes):
    def build(folder: Path, patterns: Path):
        with np.load(patterns) as file:
            content = {name: file[name] for name in file.files}
        for name, change in changes.items():
            content[name] = change(content[name])
        np.savez(folder / "bad.npz", **{name: value for name, value in content.items() if value is not None})
        return search(folder, f"--dataset=npz:{folder / 'bad.npz'}"), words

    return build


def with_nan(x):
    x = x / np.float32(255)
    x[3, 2, 1, 0] = np.nan
    return x


CASES |= {
    "labels out of range": arrays(["y_train", "-1"], y_train=lambda y: y - 1),
    "class that is not trained": arrays(["y_test", "9"], y_test=lambda y: np.where(y == 3, 9, y)),
    "labels that are fractions": arrays(["y_train"], y_train=lambda y: y + 0.5),
    "pixels that are no numbers": arrays(["x_train", "NaN"], x_train=with_nan),
    "pixels of 16 bits": arrays(["x_train", "uint16"], x_train=lambda x: x.astype(np.uint16) * 257),
    "pixels beyond 1": arrays(["x_train"], x_train=lambda x: x.astype(np.float32) * 3),
    "fewer labels than images": arrays(["y_train"], y_train=lambda y: y[:-1]),
    "wrong key": arrays(["x_test"], x_test=lambda x: None),
    "pickled objects": arrays(["x_train"], x_train=lambda x: x.astype(object)),
    "no images": arrays(["x_train"], x_train=lambda x: x[:0], y_train=lambda y: y[:0]),
}


@case
def archive_that_is_none(folder, patterns):
    (folder / "bad.npz").write_bytes(b"not a zip archive")
    return search(folder, f"--dataset=npz:{folder / 'bad.npz'}"), ["bad.npz"]


@case
def truncated_archive(folder, patterns):
    (folder / "bad.npz").write_bytes(patterns.read_bytes()[:3000])
    return search(folder, f"--dataset=npz:{folder / 'bad.npz'}"), ["bad.npz"]


# Genotypes


@case
def genotype_that_was_cut_off(folder, patterns):
    (folder / "genotype.json").write_text('{"schema": 1, "cells"')
    chosen = f"--genotype={folder / 'genotype.json'}"
    return search(folder, f"--dataset=npz:{patterns}", chosen, "--initial_weights=random"), ["JSON"]


# In a run that is there


def again(run: Path, *arguments: str) -> list[str]:
    return [f"--flagfile={run / 'run.flags'}", f"--workdir={run}", *arguments]


def edit(path: Path, change: Callable[[dict], None]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def unfinished(run: Path) -> None:
    """Takes away what says that a run has fine-tuned and exported."""

    def change(results):
        del results["artifacts"], results["stages"]["finetuned"]

    edit(run / "results.json", change)


@in_a_run
def other_flags(run):
    return "search", again(run, "--cells=2"), ["cells was '1', now '2'"]


@in_a_run
def other_images(run):
    unfinished(run)
    return "search", again(run, "--train_examples=96"), ["train_examples"]


@in_a_run
def flags_that_are_no_text(run):
    (run / "run.flags").write_bytes(b"\xff\xff")
    return "evaluate", [f"--workdir={run}"], ["run.flags"]


@in_a_run
def results_that_were_cut_off(run):
    text = (run / "results.json").read_text(encoding="utf-8")
    (run / "results.json").write_text(text[: len(text) // 2], encoding="utf-8")
    return "search", again(run), ["results.json", "remove it"]


@in_a_run
def results_of_another_kind(run):
    (run / "results.json").write_text("[1, 2]", encoding="utf-8")
    return "evaluate", [f"--workdir={run}"], ["results.json"]


@in_a_run
def artifacts_of_another_kind(run):
    edit(run / "results.json", lambda results: results.update(artifacts={"keras_folded": 5}))
    return (
        "predict",
        [f"--workdir={run}", f"--images={run / 'metrics.csv'}"],
        ["results.json", "artifacts.keras_folded"],
    )


@in_a_run
def metrics_that_were_cut_off(run):
    unfinished(run)
    text = (run / "metrics.csv").read_text(encoding="utf-8")
    (run / "metrics.csv").write_text(text[:-9], encoding="utf-8")
    return "search", again(run), ["metrics.csv: line", "mend it, or remove the file"]


@in_a_run
def history_of_another_kind(run):
    unfinished(run)
    (run / "architecture.jsonl").write_text("[1]\n", encoding="utf-8")
    return "search", again(run), ["architecture.jsonl: line 1", "remove the file"]


@in_a_run
def model_of_another_run(run):
    shutil.copy(run / "model" / "derived_folded.keras", run / "model" / "derived.keras")
    return "search", again(run), ["derived.keras", "SHA-256"]


@in_a_run
def damaged_variables(run):
    unfinished(run)
    content = bytearray((run / "checkpoints" / "searched.npz").read_bytes())
    content[1000] ^= 1
    (run / "checkpoints" / "searched.npz").write_bytes(content)
    return "search", again(run), ["searched.npz", "damaged"]


@in_a_run
def variables_that_are_gone(run):
    unfinished(run)
    (run / "checkpoints" / "searched.npz").unlink()
    return "search", again(run), ["searched.npz", "results.json"]


@in_a_run
def damaged_checkpoint(run):
    unfinished(run)
    (run / "checkpoints" / "finetuned.npz").unlink()
    newest = max((run / "checkpoints" / "finetuned").glob("*.data*"))
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    return "search", again(run), ["checkpoints/finetuned"]


@in_a_run
def checkpoint_of_another_version(run):
    unfinished(run)
    (run / "checkpoints" / "finetuned.npz").unlink()
    newest = tf.train.latest_checkpoint(str(run / "checkpoints" / "finetuned"))
    tf.train.Checkpoint(state=[tf.Variable([1.0])]).write(newest)
    return "search", again(run), ["checkpoints/finetuned", "another version", "begin this stage again"]


@in_a_run
def variables_of_another_version(run):
    unfinished(run)
    save_variables(run / "checkpoints" / "searched.npz", [keras.Variable([1.0])])
    return "search", again(run), ["searched.npz", "another version", "new workdir"]


@in_a_run
def model_that_was_changed(run):
    path = run / "model" / "derived.keras"
    path.write_bytes(path.read_bytes() + b"x")
    return "evaluate", [f"--workdir={run}", "--artifact=keras"], ["derived.keras", "SHA-256"]


@in_a_run
def model_with_code_in_it(run):
    """Python code in a Lambda layer, with a digest that agrees: it must not be run."""
    path, ran = run / "model" / "derived.keras", run / "ran"
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(4)])
    code = f"lambda x: (open({str(ran)!r}, 'w').close(), x)[1]"
    model.add(keras.layers.Lambda(eval(code)))
    labelling = zipfile.ZipFile(path).read("labelling.json")
    ran.unlink(missing_ok=True)
    model.save(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labelling.json", labelling)
    ran.unlink(missing_ok=True)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    edit(run / "results.json", lambda results: results["artifacts"]["keras"].update(sha256=digest))
    return "evaluate", [f"--workdir={run}", "--artifact=keras"], ["keras"]


@in_a_run
def images_that_are_not_there(run):
    return "predict", [f"--workdir={run}", f"--images={run}/none/*.png"], ["none/*.png", "no file"]


@in_a_run
def unknown_artifact(run):
    return "evaluate", [f"--workdir={run}", "--artifact=exe"], ["exe", "keras"]


@in_a_run
def artifact_that_was_not_exported(run):
    return "evaluate", [f"--workdir={run}", "--artifact=onnx"], ["onnx", "hmnas_tf.export"]


def environment(folder: Path) -> dict[str, str]:
    path = folder / "environment"
    return json.loads(path.read_text()) if path.exists() else {}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_line_and_leaves_no_run(name, patterns, tmp_path):
    arguments, words = CASES[name](tmp_path, patterns)
    refused(Command("search", arguments, tmp_path / "printed", environment(tmp_path)), words)
    assert not (tmp_path / "run").exists()


def files(folder: Path) -> dict[str, bytes]:
    """Returns what a run has; the lock and run.flags, which hold what is the same, apart."""
    paths = (
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (".lock", "run.flags")
    )
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.mark.parametrize("name", IN_A_RUN)
def test_a_run_that_was_tampered_with_is_told_and_stays_as_it_is(name, finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    command, arguments, words = IN_A_RUN[name](run)
    before = files(run)
    refused(Command(command, arguments, tmp_path / "printed"), words)
    assert files(run) == before


# What looks bad and is not


def test_byte_order_mark_and_carriage_returns(finished, patterns, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    lines = (run / "run.flags").read_text(encoding="utf-8").splitlines()
    (tmp_path / "my.flags").write_bytes(b"\xef\xbb\xbf# mine\r\n" + "\r\n".join(lines).encode() + b"\r\n")
    arguments = [f"--flagfile={tmp_path / 'my.flags'}", f"--workdir={run}"]
    command = Command("search", arguments, tmp_path / "printed")
    assert command.wait() == 0, command.complained
    assert "nothing was changed" in command.shown


def test_the_disk_is_full(patterns, smallest, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted: {mounted.stderr.decode()}")
    try:
        command = Command("search", smallest(disk / "run"), tmp_path / "printed")
        refused(command, [])
        assert "space" in command.complained.splitlines()[-1]
        json.loads((disk / "run" / "results.json").read_text(encoding="utf-8"))
    finally:
        subprocess.run(["umount", disk], check=True)


def test_two_processes_do_not_share_a_folder(smallest, tmp_path):
    first = Command("search", smallest(tmp_path / "run"), tmp_path / "first")
    wait_for(lambda: "epoch   1/4" in first.shown, first)
    refused(
        Command("search", smallest(tmp_path / "run"), tmp_path / "second"), ["in use by process", "--workdir"]
    )
    assert first.wait() == 0
    third = Command("search", smallest(tmp_path / "run"), tmp_path / "third")
    assert third.wait() == 0
    assert "nothing was changed" in third.shown


@pytest.mark.parametrize(
    ("mode", "ending"),
    [("CMYK", "jpg"), ("I;16", "png"), ("P", "png"), ("L", "png"), ("RGBA", "png"), ("P", "gif")],
)
def test_strange_images_are_read(mode, ending, tmp_path):
    """Also the first picture of an animation, and paths beyond ASCII."""
    path = images(tmp_path, ("bee", "Käfer 甲虫"))
    pixels = np.random.default_rng(5).integers(0, 256, (8, 8), np.uint8)
    image = Image.fromarray(pixels)
    image = Image.fromarray(pixels.astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    more = {"save_all": True, "append_images": [image.rotate(90)]} if ending == "gif" else {}
    image.save(path / "bee" / f"strange.{ending}", **more)
    # It gets as far as the images' number.
    refused(
        Command(
            "search", search(tmp_path, f"--dataset=folder:{path}", "--batch_size=99"), tmp_path / "printed"
        ),
        ["batch_size=99"],
    )
