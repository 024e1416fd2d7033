"""Every command in the documents can be typed: its flags exist; a test runs it, or a mark says what that would need."""

from __future__ import annotations

import ast
import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from forked import Command
from PIL import Image

from hmnas_tf import command_line
from hmnas_tf.__main__ import commands
from hmnas_tf.data import load_dataset
from hmnas_tf.runs import choices, preflight

ROOT = Path(__file__).parents[2]
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))
DOCUMENTS = ["README.md", "CONTRIBUTING.md", *PAGES]
MARKED = ["README.md", *PAGES]  # in these every block of shell is run, or marked
NEEDS = (  # `<!-- needs ... -->` before a block: why no test runs it
    "a GPU",
    "a download",
    "a finished run",
    "a phone",
    "a second run",
    "a server",
    "an idle machine",
    "docker",
    "several hosts",
    "the files above",  # tests/end_to_end/test_extending.py has them
)
RUN = {  # what a command begins with: the test that runs a shortened form of it
    "hmnas_tf": ("tests/project/test_commands.py", "test_listing_does_not_load_tensorflow"),
    "hmnas_tf.ablate": (
        "tests/reliability/test_kills.py",
        "test_an_ablation_that_is_killed_is_uninterrupted",
    ),
    "hmnas_tf.evaluate": (
        "tests/end_to_end/test_deployment.py",
        "test_every_artifact_is_evaluated_in_its_own_runtime",
    ),
    "hmnas_tf.export": (
        "tests/end_to_end/test_deployment.py",
        "test_a_run_is_exported_again_in_other_formats",
    ),
    "hmnas_tf.pareto": ("tests/reliability/test_pareto.py", "test_killed_at_any_time_it_is_uninterrupted"),
    "hmnas_tf.predict": (
        "tests/end_to_end/test_deployment.py",
        "test_files_are_predicted_and_bad_ones_named",
    ),
    "hmnas_tf.search --flagfile=flags/quickstart.flags": (
        "tests/project/test_doc_commands.py",
        "test_the_quickstart_works_as_it_is_written",
    ),
    "hmnas_tf.report": ("tests/end_to_end/test_report.py", "test_a_run_in_progress_has_a_report"),
    "hmnas_tf.tune": ("tests/reliability/test_tune.py", "test_killed_within_trials_it_is_uninterrupted"),
    "hmnas_tf.search --flagfile=flags/own_data.flags": (
        "tests/project/test_doc_commands.py",
        "test_own_data_work_as_it_is_written",
    ),
    "draw_cell.py": ("tests/project/test_documents.py", "test_pictures_are_what_their_tool_draws"),
    "flags_reference.py": (
        "tests/project/test_flags_reference.py",
        "test_the_tool_writes_a_file",
    ),
    "serving_client.py": ("tests/serving/test_client.py", "test_labels_and_probabilities_are_the_models"),
}
SHORTEST = [
    *("--cells=1", "--nodes=1", "--initial_channels=4"),
    *("--operations=sep_conv_3x3,identity", "--supernet_epochs=2", "--warmup_epochs=1", "--mask_epochs=1"),
    *("--finetune_epochs=1", "--evaluate_every=0", "--formats=onnx"),
]


class Block(NamedTuple):
    """A fenced block of a document, and what the mark before it says that it needs."""

    language: str
    text: str
    needs: str


class Typed(NamedTuple):
    """A program of ours and its flags as a document has them."""

    program: str
    flags: list[str]

    def __str__(self) -> str:
        return shlex.join([self.program, *self.flags])


def blocks(name: str) -> list[Block]:
    text = (ROOT / name).read_text(encoding="utf-8")
    fence = r"^(?:<!-- needs ([^\n]*) -->\n)?```(\w+)\n(.*?)^```$"
    found = re.findall(fence, text, re.MULTILINE | re.DOTALL)
    return [Block(language, body, needs) for needs, language, body in found]


def typed(text: str) -> Iterator[Typed]:
    """Yields the commands of this project in a text of shell."""
    text = re.sub(r"\\\n\s*", "", text)
    flag = r"""[ ]+--\w+(?:=(?:'[^']*'|"[^"]*"|[^\s'"]+))?"""
    for module, tool, words in re.findall(
        rf"(?:-m (hmnas_tf(?:\.\w+)?)|(?<![\w.])tools/(\w+\.\w+))\b((?:{flag})*)", text
    ):
        yield Typed(module or tool, shlex.split(words))


def every_command() -> list:
    found = [(name, command) for name in DOCUMENTS for block in blocks(name) for command in typed(block.text)]
    assert len(found) > 15
    return [pytest.param(command, id=f"{name}:{command}"[:90]) for name, command in found]


def is_run(command: Typed) -> bool:
    """Returns whether there is a row for a command."""
    words = [command.program, *command.flags]
    return any(words[: len(row.split())] == row.split() for row in RUN)


@pytest.mark.parametrize("command", every_command())
def test_a_command_is_understood(command, flags_reference, monkeypatch):
    monkeypatch.chdir(ROOT)  # flag files are named from there
    given = [flag for flag in command.flags if not flag.startswith("--flagfile=runs/")]  # which a run writes
    name = command.program.removeprefix("hmnas_tf").removeprefix(".")
    if not command.program.startswith("hmnas_tf"):
        source = (ROOT / "tools" / command.program).read_text(encoding="utf-8")
        words = [re.match(r"--(\w+)", flag)[1] for flag in given]
        assert [word for word in words if not re.search(rf"[\"'](--)?{word}[\"']", source)] == []
    elif name:
        assert name in commands()
        values = flags_reference.flags_of(name)
        assert values([name, *command_line.with_flag_files(given)]) == [name]
        assert values["workdir"].value or given != command.flags
        if "supernet_epochs" in values:  # a command that trains
            config = command_line.config_of_flags(values)
            choices.check_names(config)
            preflight.topology_of(config)


@pytest.mark.parametrize("name", MARKED)
def test_a_block_of_shell_is_run_or_marked(name):
    for block in blocks(name):
        assert not block.needs or block.needs in NEEDS, (
            f"write {block.needs!r} into NEEDS, or take one of them"
        )
        if block.language == "sh" and not block.needs:
            found = list(typed(block.text))
            assert found, f"no command of ours, so nothing runs it; mark what it needs: {block.text}"
            assert len(found) == len(re.sub(r"\\\n", "", block.text).splitlines()), "a line that no test runs"
            for command in found:
                assert is_run(command), f"{command}: name the test in RUN, or mark what it needs"


@pytest.mark.parametrize("row", RUN)
def test_a_test_that_is_said_to_run_a_command_is_there_and_names_it(row):
    path, name = RUN[row]
    source = (ROOT / path).read_text(encoding="utf-8")
    assert name in {node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
    assert row.split()[0].removeprefix("hmnas_tf.").removesuffix(".py") in source


def test_marks_stand_before_blocks_only():
    for name in DOCUMENTS:
        marks = re.findall(r"<!-- needs .* -->", (ROOT / name).read_text(encoding="utf-8"))
        assert len(marks) == sum(bool(block.needs) for block in blocks(name)), name


def walk(document: str, folder: Path, more: dict[str, list[str]]) -> dict[str, str]:
    """Types what a document says in a folder, each command once and with more flags; returns what they show."""
    (folder / "flags").symlink_to(ROOT / "flags")
    shown: dict[str, str] = {}
    for number, block in enumerate(blocks(document)):
        if block.language == "python" and "python" in more:
            program = folder / "program.py"
            program.write_text(block.text, encoding="utf-8")
            runpy.run_path(str(program))
        for command in typed(block.text) if block.language == "sh" and not block.needs else ():
            name = command.program.removeprefix("hmnas_tf.")
            if name in more and name not in shown:
                process = Command(
                    name, [*command.flags, *more[name]], folder / f"printed {number}", directory=folder
                )
                assert process.wait(600) == 0, process.complained
                shown[name] = process.shown
    assert "After fine-tuning" in shown["search"]
    assert shown["evaluate"].startswith("onnx ")
    return shown


@pytest.mark.slow
def test_the_quickstart_works_as_it_is_written(tmp_path, monkeypatch):
    """Its blocks in their order, in one folder; the search is shortened and done once, one artifact is evaluated."""
    monkeypatch.chdir(tmp_path)
    more = {
        "search": ["--train_examples=200", "--test_examples=20", *SHORTEST],
        "evaluate": ["--artifact=onnx"],
    }
    more |= {"predict": [], "python": []}
    shown = walk("docs/quickstart.md", tmp_path, more)
    assert re.fullmatch(r"(photos/\d_is_\d\.png(\t\d\t[01]\.\d{4}){2}\n){5}", shown["predict"])


@pytest.mark.slow
def test_own_data_work_as_it_is_written(tmp_path, monkeypatch):
    """Pictures in folders, `flags/own_data.flags`, shortened."""
    monkeypatch.chdir(tmp_path)
    digits = load_dataset("digits")
    names = {0: "round", 1: "straight", 4: "angular"}
    for number, (image, label) in enumerate(zip(digits.x_train, digits.y_train, strict=True)):
        if label in names and number < 300:
            folder = tmp_path / ("new" if number < 20 else "pictures") / names[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[:, :, 0]).save(folder / f"{number}.png")
    more = {"search": SHORTEST, "evaluate": ["--artifact=onnx"], "predict": []}
    shown = walk("docs/own_data.md", tmp_path, more)
    files = sorted(path.relative_to(tmp_path).as_posix() for path in (tmp_path / "new").glob("*/*.png"))
    lines = [line.split("\t") for line in shown["predict"].splitlines()]
    assert sorted(line[0] for line in lines) == files
    assert {line[1] for line in lines} <= set(names.values())
    assert (tmp_path / "runs" / "own_data" / "report.html").exists()
