"""A run among real folders: odd names, home, other spellings, pictures that moved, a folder that cannot be written."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from forked import STAGES, Command, refused, wait_for
from PIL import Image
from test_kills import LESS

pytestmark = pytest.mark.slow

RUN = "~/runs of mine/lr[0.1] *?"  # as it is typed
WITHOUT_PRIVILEGES = """
import ctypes, runpy, sys

header, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert ctypes.CDLL(None).capset(header, nothing) == 0  # the superuser heeds permissions from here on
del sys.argv[0]
runpy.run_module(f"hmnas_tf.{sys.argv[0]}", run_name="__main__", alter_sys=True)
"""


def draw(folder: Path, seed: int = 0) -> Path:
    """Grey pictures of two classes, 8 x 8: bright above, or below."""
    random = np.random.default_rng(seed)
    for name in ("above", "below"):
        (folder / name).mkdir(parents=True)
        for number in range(30):
            pixels = random.integers(0, 90, (8, 8)).astype(np.uint8)
            pixels[slice(0, 4) if name == "above" else slice(4, 8)] += 150
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


class World:
    """A home, a project with pictures in it, and commands that are typed there."""

    def __init__(self, root: Path, settings: Sequence[str]):
        self.root, self.project, self.settings = root, root / "project", settings
        self.pictures = draw(self.project / "pics")
        (root / "home").mkdir()
        self.run = root / "home" / "runs of mine" / "lr[0.1] *?"
        self._count = 0

    def type(self, name: str, *arguments: str, directory: Path | None = None) -> Command:
        self._count += 1
        home = {"HOME": str(self.root / "home")}
        output = self.root / f"printed {self._count}"
        return Command(name, arguments, output, home, directory or self.project)

    def works(self, name: str, *arguments: str, directory: Path | None = None) -> str:
        command = self.type(name, *arguments, directory=directory)
        assert command.wait() == 0, command.complained
        return command.shown


@pytest.fixture(scope="module")
def world(smallest, tmp_path_factory) -> World:
    """With a finished run in a folder of an odd name, in home, that was stopped by Ctrl-C and went on."""
    world = World(
        tmp_path_factory.mktemp("world"), (*smallest(RUN), *LESS, "--finetune_epochs=0")
    )  # of a flag the last one counts
    first = world.type("search", *world.settings, "--dataset=folder:pics")
    wait_for(lambda: (world.run / "checkpoints" / "supernet" / "checkpoint").exists(), first)
    first.send(signal.SIGINT)
    assert first.wait() == 130
    assert "Traceback" not in first.complained
    (line,) = [line for line in first.complained.splitlines() if line.startswith("hmnas_tf.")]
    assert line.startswith("hmnas_tf.search: stopped by Ctrl-C (SIGINT). Start the same command again")
    world.works("search", *world.settings, "--dataset=folder:./pics/")
    return world


@pytest.fixture
def moved(world) -> Iterator[Path]:
    """The pictures, where they are now."""
    place = world.pictures.rename(world.root / "elsewhere")
    yield place
    place.rename(world.pictures)


def test_stopped_in_a_folder_of_an_odd_name_it_goes_on(world):
    """Bit for bit: tests/stages/test_fit.py."""
    assert not (world.project / "~").exists()
    results = json.loads((world.run / "results.json").read_text(encoding="utf-8"))
    assert results["stages"].keys() == set(STAGES)
    assert results["machine"]["directory"] == str(world.project)
    for stage in STAGES:
        assert len(list((world.run / "checkpoints" / stage).glob("*.index"))) <= 2


@pytest.mark.parametrize("spelling", ["folder:pics", "folder:../project/pics/.", "folder:{pictures}"])
def test_a_place_in_another_spelling_is_the_same(spelling, world):
    dataset = f"--dataset={spelling.format(pictures=world.pictures)}"
    assert "nothing was changed" in world.works("search", *world.settings, dataset)


@pytest.fixture
def copied(world, tmp_path) -> Path:
    return shutil.copytree(world.run, tmp_path / "copied [1]")


def test_its_pictures_are_found_from_another_directory(world, copied):
    command = world.type("report", f"--workdir={copied}", directory=copied)
    assert command.wait() == 0
    assert "could not be shown" not in command.complained


def test_pictures_that_moved_are_known_by_their_content(world, moved, copied):
    before = (copied / "run.flags").read_bytes()
    words = ["are not at", "pics", "pass --dataset=folder:PATH", "known by their content"]
    refused(world.type("export", f"--workdir={copied}"), words)
    where = f"--dataset=folder:{moved}"
    assert "test error" in world.works("evaluate", f"--workdir={copied}", where, "--artifact=keras_folded")
    assert "report: " in world.works("report", f"--workdir={copied}", where)
    assert "could not be shown" not in (copied / "report.html").read_text(encoding="utf-8")
    assert (copied / "run.flags").read_bytes() == before
    shown = world.works("search", *world.settings, where, f"--workdir={copied}")
    assert "nothing was changed" in shown
    assert where in (copied / "run.flags").read_text(encoding="utf-8").splitlines()


def test_other_pictures_are_refused_wherever_they_are(world, copied, tmp_path):
    before = (copied / "run.flags").read_bytes()
    dataset = f"--dataset=folder:{draw(tmp_path / 'pics', seed=1)}"
    for command, more in (("evaluate", ()), ("export", ("--formats=keras",)), ("search", world.settings)):
        refused(
            world.type(command, *more, f"--workdir={copied}", dataset),
            ["other images", "version", "--workdir"],
        )
    assert (copied / "run.flags").read_bytes() == before


def test_predict_takes_names_folders_patterns_and_lists(world):
    new = world.root / "home" / "new [1]"
    new.mkdir()
    for number, name in enumerate(("IMG [1].png", "a,b.png", "c.png")):
        shutil.copy(world.pictures / ("above" if number else "below") / "0.png", new / name)
    (new / "notes.txt").write_text("remember the milk")

    def named(*images: str) -> list[str]:
        shown = world.works("predict", f"--workdir={RUN}", *(f"--images={each}" for each in images))
        return [Path(line.split("\t")[0]).name for line in shown.splitlines()]

    assert named("~/new [1]/IMG [1].png") == ["IMG [1].png"]
    assert named("~/new [1]/*.png") == ["IMG [1].png", "a,b.png", "c.png"]
    assert named("~/new [1]/c.png,~/new [1]/a,b.png", "~/new [1]") == ["c.png", "a,b.png", "IMG [1].png"]
    refused(world.type("predict", f"--workdir={RUN}", "--images=~/new [1]/[d].png"), ["[d].png", "no file"])


@pytest.fixture
def read_only(world, tmp_path) -> Iterator[Path]:
    """A copy of the run that nothing can be written into."""
    run = shutil.copytree(world.run, tmp_path / "run")
    folders = [run, *(path for path in run.rglob("*") if path.is_dir())]
    for path in folders:
        path.chmod(0o555)
    yield run
    for path in folders:
        path.chmod(0o755)


def test_a_run_that_cannot_be_written_is_read(world, read_only, tmp_path):
    program = tmp_path / "without_privileges.py"
    program.write_text(WITHOUT_PRIVILEGES)

    def typed(name: str, *arguments: str) -> Command:
        command = world.type(str(program), name, f"--workdir={read_only}", *arguments)
        command.wait()
        assert "Traceback" not in command.complained
        return command

    assert "test error" in typed("evaluate", "--artifact=keras_folded").shown
    image = world.pictures / "above" / "0.png"
    assert typed("predict", f"--images={image}").shown.startswith(f"{image}\t")
    for command in (typed("report"), typed("export", "--formats=keras")):
        lines = [line for line in command.complained.splitlines() if line.startswith("hmnas_tf.")]
        assert len(lines) == 1 and "cannot be written" in lines[0] and "copy it" in lines[0]
        assert command.wait() == 2


def test_a_run_inside_its_pictures_is_refused_at_the_start(world):
    words = ["lies inside the pictures", "--workdir"]
    refused(
        world.type("search", "--dataset=folder:.", "--workdir=runs/first", directory=world.pictures), words
    )
    for command in ("ablate", "tune"):
        refused(world.type(command, "--dataset=folder:pics", "--workdir=pics/above/x"), words)
    assert sorted(os.listdir(world.pictures)) == ["above", "below"]


def test_a_path_without_its_prefix_is_answered(world):
    for dataset in ("pics", "./pics", "~/new"):
        (world.root / "home" / "new").mkdir(exist_ok=True)
        place = dataset.replace("~", str(world.root / "home"))
        words = [f"did you mean --dataset=folder:{place}?"]
        refused(world.type("search", f"--dataset={dataset}", f"--workdir={RUN}x"), words)
    assert not Path(f"{world.run}x").exists()


STOPPED = {  # what a command shows when it is stopped; "" is some time after its start
    "search": (signal.SIGHUP, "building the supernet"),
    "ablate": (signal.SIGINT, "building the supernet"),
    "tune": (signal.SIGTERM, "building the supernet"),
    "evaluate": (signal.SIGINT, ""),
    "export": (signal.SIGHUP, "export: "),
}


@pytest.mark.parametrize("name", STOPPED)
def test_every_command_ends_in_a_line_when_it_is_stopped(name, world, tmp_path):
    number, shown = STOPPED[name]
    trains = name in ("search", "ablate", "tune")
    more = (*world.settings, "--dataset=folder:pics", f"--workdir={tmp_path / 'run'}", "--holdout=0.2")
    command = world.type(name, *(more if trains else (f"--workdir={RUN}",)))
    wait_for(lambda: shown in command.shown, command)
    time.sleep(0 if shown else 1.5)
    command.send(number)
    assert command.wait() == 128 + number
    assert "Traceback" not in command.complained
    (line,) = [line for line in command.complained.splitlines() if line.startswith("hmnas_tf.")]
    assert line.startswith(f"hmnas_tf.{name}: stopped by ")
    assert ("it goes on" in line) == trains
