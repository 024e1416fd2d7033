"""Paths as people type them: home, spellings of one place, pictures by name, pattern, folder or list."""

from __future__ import annotations

import dataclasses
import os
import pwd
from pathlib import Path

import pytest

from hmnas_tf.config import Config
from hmnas_tf.console.flag_files import with_flag_files
from hmnas_tf.console.paths import at_home, is_same, meant, path_of, pictures, refuse_within

ME = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """A home and a current directory of their own."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def touch(*names: str) -> list[Path]:
    paths = [Path(name) for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return paths


def test_home_is_found_in_every_setting_that_is_a_path(home):
    paths = [field.name for field in dataclasses.fields(Config) if field.metadata["path"]]
    assert sorted(paths) == ["cache_dir", "data_dir", "dataset", "genotype", "idx_dir", "teacher"]
    more = {"initial_weights": "random"}
    for name in paths:
        assert getattr(Config(**{name: "~/a b"}, **more), name) == f"{home}/a b"
    for prefix in ("folder:", "npz:"):
        assert Config(dataset=f"{prefix}~/x").dataset == f"{prefix}{home}/x"
    assert Config(dataset=f"folder:~{ME}/x").dataset == f"folder:{pwd.getpwnam(ME).pw_dir}/x"
    assert Config().dataset == "cifar10"


def test_home_of_flag_files(home):
    Path(home, "inner.flags").write_text("--cells=5\n")
    Path(home, "my.flags").write_text("--flagfile=~/inner.flags\n")
    assert with_flag_files(["--flagfile=~/my.flags"]) == ["--cells=5"]


@pytest.mark.parametrize("text", ["", "a/~/b", "./~", "a~", "x/~user", "gs://bucket/x"])
def test_elsewhere_a_tilde_is_a_character(text):
    assert at_home(text) == text


def test_a_user_that_is_not_there_is_told():
    with pytest.raises(
        ValueError, match=r"workdir='~nobody_here/x': ~nobody_here is no user's home .*\./~nobody"
    ):
        path_of("~nobody_here/x", "workdir")
    touch("~nobody_here/x")
    assert path_of("~nobody_here/x") == Path("~nobody_here/x")


@pytest.mark.parametrize("character", ["\n", "\r", "\x85", "\u2028", "\udce4"])
def test_what_a_flag_file_cannot_hold_is_told_in_a_line(character):
    with pytest.raises(ValueError, match="no flag file can hold") as caught:
        Config(dataset=f"folder:a{character}b")
    assert "\n" not in str(caught.value)
    str(caught.value).encode("utf-8")


def test_spellings_of_one_place(home):
    touch("pics/ant/1.png")
    Path("link").symlink_to("pics")
    spellings = [
        "pics",
        "pics/",
        "./pics",
        "pics/.",
        "home/../pics",
        "link",
        "link/",
        str(Path("pics").absolute()),
    ]
    for spelling in spellings:
        assert is_same("folder:pics", f"folder:{spelling}")
        assert not is_same("npz:pics", f"folder:{spelling}")
        assert not is_same("folder:other", f"folder:{spelling}")
    assert is_same("npz:home/x", "npz:~/x")
    assert not is_same("", ".")


INSIDE = ["pics", "pics/run", "./pics/a/b/../run", "link/run", "pics/ant/run"]
OUTSIDE = ["runs/first", "pics2", ".", "pics/../run", "pics/.runs/first", "link2/run"]


@pytest.mark.parametrize("dataset", ["folder:pics", "folder:pics/", "folder:link", "folder:./home/../pics"])
def test_a_run_inside_its_pictures_is_refused(dataset):
    touch("pics/ant/1.png", "other/x")
    Path("link").symlink_to("pics")
    Path("link2").symlink_to("other")
    for workdir in INSIDE:
        with pytest.raises(ValueError, match="lies inside the pictures") as caught:
            refuse_within(dataset, Path(workdir))
        assert str(Path(workdir)) in str(caught.value) and dataset in str(caught.value)
    for workdir in OUTSIDE:
        refuse_within(dataset, Path(workdir))
    refuse_within("npz:pics", "pics/run")
    refuse_within("digits", "digits")


def test_a_run_beside_the_classes_is_refused_from_within_the_pictures(monkeypatch):
    touch("pics/ant/1.png")
    monkeypatch.chdir("pics")
    with pytest.raises(ValueError, match="lies inside the pictures"):
        refuse_within("folder:.", "runs/first")
    refuse_within("folder:.", "../runs/first")


MEANT = {
    "pics": "did you mean --dataset=folder:pics?",
    "./pics": "did you mean --dataset=folder:./pics?",
    "pics/": "did you mean --dataset=folder:pics/?",
    "~/pics": "did you mean --dataset=folder:~/pics?",
    "dir:pics": "did you mean --dataset=folder:pics?",
    "Folder:pics": "did you mean --dataset=folder:pics?",
    "NPZ:a.npz": "did you mean --dataset=npz:a.npz?",
    "a.npz": "did you mean --dataset=npz:a.npz?",
    "./a.npz": "did you mean --dataset=npz:./a.npz?",
    "b.npz": "there is no file 'b.npz'",
    "pics.zip": "'pics.zip' is packed: unpack it, and give the folder as --dataset=folder:PATH",
    "pics.ZIP": "'pics.ZIP' is packed: unpack it",
    "./none": "there is no folder or file './none'",
    "../none": "there is no folder or file '../none'",
    "/none/there": "there is no folder or file '/none/there'",
    "~/none": "there is no folder or file '~/none'",
    "none/": "there is no folder or file 'none/'",
    "pics/none": "there is no folder or file 'pics/none'",
    "cifar10": "",
    "emnist/letters": "",
    "fashion_mnist:3.0.1": "",
    "cifar11": "",
}


@pytest.mark.parametrize("name", MEANT)
def test_a_path_for_a_dataset_is_understood_as_one(name):
    touch("pics/ant/1.png", "home/pics/1.png", "a.npz", "pics.zip", "pics.ZIP")
    assert (
        meant(name).endswith(MEANT[name])
        if MEANT[name].endswith("?")
        else meant(name).startswith(MEANT[name])
    )
    assert bool(meant(name)) == bool(MEANT[name])


def named(*words: str) -> list[str]:
    return [str(path) for path in pictures(words)[0]]


@pytest.mark.parametrize(
    "name",
    [
        "IMG [1].png",
        "a*b.png",
        "what?.png",
        "a,b.png",
        "50% #1.png",
        "-x.png",
        "犬.png",
        "a\nb.png",
        ".hidden.png",
        " a",
    ],
)
def test_the_file_itself_comes_first(name):
    touch(name, "a", "b.png", "IMG 1.png", "axb.png", "whatx.png")
    assert named(name) == [name]
    touch("deep [1]/x.png", f"deep [1]/{name}")
    assert named(f"deep [1]/{name}") == [f"deep [1]/{name}"]


def test_patterns_lists_and_repetitions():
    touch(
        "a.png",
        "b.png",
        "c,d.png",
        "new/e.png",
        "new/deep/f.png",
        "run[0.1]/g.png",
        "run[0.1]/h.jpg",
        "x [2].png",
    )
    assert named("?.png") == ["a.png", "b.png"]
    assert named("new/**/*.png") == ["new/deep/f.png", "new/e.png"]
    assert named("run[0.1]/*.png") == ["run[0.1]/g.png"]
    assert named("b.png,a.png") == ["b.png", "a.png"]
    assert named("a.png, b.png,") == ["a.png", "b.png"]
    assert named("a.png,c,d.png,b.png") == ["a.png", "c,d.png", "b.png"]
    assert named("x [2].png,new/*.png") == ["x [2].png", "new/e.png"]
    assert named("b.png", "?.png", "new") == ["b.png", "a.png", "new/deep/f.png", "new/e.png"]
    assert named("new/*") == ["new/e.png"]


def test_home_of_pictures(home):
    touch("home/p/a.png", "home/p/b.png", "~weird.png")
    assert named("~/p/*.png") == [f"{home}/p/a.png", f"{home}/p/b.png"]
    assert named("~/p/b.png,~/p/a.png") == [f"{home}/p/b.png", f"{home}/p/a.png"]
    assert named("~/p") == [f"{home}/p/a.png", f"{home}/p/b.png"]
    assert named("~weird.png") == ["~weird.png"]


def test_of_a_folder_the_pictures_count_and_the_rest_is_returned():
    touch("new/a.PNG", "new/deep [1]/b.jpeg", "new/notes.txt", "new/c.heic", "new/.d.png", "new/.git/e.png")
    taken, left_out = pictures(["new/"])
    assert [str(path) for path in taken] == ["new/a.PNG", "new/deep [1]/b.jpeg"]
    assert [str(path) for path in left_out] == ["new/c.heic", "new/notes.txt"]
    assert named("new/notes.txt") == ["new/notes.txt"]  # asked for by its name


def test_links_are_followed_but_not_in_a_circle():
    touch("new/a.png", "elsewhere/ant/b.jfif", "elsewhere/ant/.c.png", "new/x/d.pbm")
    Path("new/far").symlink_to(Path("elsewhere").absolute())
    Path("new/x/again").symlink_to(Path("new").absolute())
    Path("elsewhere/itself").symlink_to(Path("elsewhere/itself").absolute())
    assert named("new") == ["new/a.png", "new/far/ant/b.jfif", "new/x/d.pbm"]


def test_a_folder_that_cannot_be_read_is_told(monkeypatch):
    touch("new/a.png", "new/closed/b.png", "new/.closed/c.png")
    scan = os.scandir

    def scandir(place):
        if str(place).endswith("closed"):
            raise PermissionError(13, "Permission denied", place)
        return scan(place)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(PermissionError, match="new/closed"):
        pictures(["new"])


@pytest.mark.parametrize(
    "words", [["none.png"], ["none/*.png"], ["a.png,none.png"], ["a.png", "none"], ["[a].jpg"]]
)
def test_what_is_not_there_is_named(words):
    touch("a.png")
    with pytest.raises(ValueError, match="matches no file") as caught:
        pictures(words)
    assert words[-1].rpartition(",")[2] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_picture_and_names_without_end_are_told():
    touch("new/notes.txt")
    with pytest.raises(ValueError, match="folders have no picture"):
        pictures(["new"])
    for name in ("x" * 5000, "x," * 300 + "y"):
        with pytest.raises(ValueError, match="matches no file") as caught:
            pictures([name])
        assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "text", ["s3://bucket/run", "gs://bucket/run", "file:///tmp/run", "HTTPS://host/my.flags"]
)
def test_an_address_is_no_path(text):
    with pytest.raises(ValueError, match=r"^workdir='.*' is an address: expected a path on this machine"):
        path_of(text, "workdir")
