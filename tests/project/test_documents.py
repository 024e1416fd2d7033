"""README, CONTRIBUTING and CHANGELOG say what is true, as far as a program can tell."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import hmnas_tf
from hmnas_tf.__main__ import commands

ROOT = Path(__file__).parents[2]
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", *PAGES)
FOREIGN_FLAGS = {  # of TF Serving, onnxruntime and LiteRT
    *("allow_version_labels_for_unavailable_models", "batching_parameters_file", "dim_param", "dim_value"),
    *("enable_batching", "enable_signature_method_name_check", "model_config_file", "optimization_style"),
    *("model_config_file_poll_wait_seconds", "monitoring_config_file"),
    *("enable_op_profiling", "num_runs", "num_threads", "use_gpu", "warmup_runs"),
}
README = (ROOT / "README.md").read_text(encoding="utf-8")
# Tracked text that speaks for the project.
OWN = [*DOCUMENTS, "BUILD", "pyproject.toml", ".gitignore", ".ci/run", "tools/check.sh"]


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """Returns what `#...` in a link to a document may be."""
    titles = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_first_command_installs_and_runs_the_quickstart():
    steps = blocks("sh")[0].strip().split(" && ")
    assert "\n" not in blocks("sh")[0].strip()
    make, install, run = (shlex.split(step) for step in steps)
    assert make == ["python3", "-m", "venv", ".venv"]
    assert install == [".venv/bin/pip", "install", "--editable", ".[all]"]
    assert run[:3] == [".venv/bin/python", "-m", "hmnas_tf.search"]
    flag_file = ROOT / run[3].removeprefix("--flagfile=")
    assert flag_file.exists()
    assert "--workdir=" in flag_file.read_text(encoding="utf-8")


def test_the_second_command_is_the_one_that_ci_runs():
    command = blocks("sh")[1].strip()
    assert (ROOT / command).exists()
    assert re.search(rf"^timeout .* {re.escape(command)} ", (ROOT / ".ci/run").read_text(), re.MULTILINE)


def test_commands_and_flags_in_documents_exist(flags_reference):
    text = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in DOCUMENTS)
    used = set(re.findall(r"-m hmnas_tf\.(\w+)", text))
    assert used
    assert used <= set(commands())
    flags = set(re.findall(r"(?<![\w-])--([a-z]+_\w+)", text)) - {"no_such_flag"}
    assert flags <= FOREIGN_FLAGS.union(*map(flags_reference.flags_of, commands()))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_linked_and_quoted_files_exist(name):
    text = re.sub(
        r"^```.*?^```$", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    links = set(re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", text))
    quoted = set(re.findall(r"`((?:hmnas_tf|tools|flags|tests|\.ci)/[\w./]*)`", text))
    beside = (ROOT / name).parent
    missing = [path for path, _ in links if not (beside / path).exists()]
    missing += [path for path in quoted if "*" not in path and not (ROOT / path).exists()]
    assert not missing
    for path, anchor in links:
        assert not anchor or anchor in anchors(beside / path if path else ROOT / name), anchor


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[(.+)\]\(\1\) \| .+ \|$", index, re.MULTILINE)
    assert sorted([*rows, "README.md"]) == [Path(page).name for page in PAGES]


def test_equations_are_where_the_readme_says():
    """docs/how_it_works.md names files and symbols; README's table is checked by tests/project/test_paper_table.py."""
    pair = r"`(hmnas_tf/[\w/]+\.py)`{} `([\w.]+)`"
    table = set(re.findall(pair.format(r" \|"), README))
    named = set(re.findall(pair.format(","), (ROOT / "docs" / "how_it_works.md").read_text(encoding="utf-8")))
    assert len(named) > 20
    assert named <= table


@pytest.mark.slow
def test_pictures_are_what_their_tool_draws(tmp_path):
    source = ROOT / "docs" / "pictures" / "quickstart_genotype.json"
    command = [sys.executable, ROOT / "tools" / "draw_cell.py", source, tmp_path / "quickstart.svg"]
    subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, timeout=300)
    drawn = sorted(tmp_path.glob("*.svg"))
    assert len(drawn) == 2
    for path in drawn:
        assert path.read_bytes() == (source.parent / path.name).read_bytes(), (
            "draw it again, see how_it_works.md"
        )


def test_every_flag_file_is_in_the_readme():
    for path in (ROOT / "flags").glob("*.flags"):
        assert f"](flags/{path.name})" in README


def test_the_run_folder_is_described_as_it_is():
    from hmnas_tf.exporters.formats import EXPORTERS

    for exporter in EXPORTERS.values():
        assert exporter.file_name in README.split("## The run folder")[1].split("## Using")[0]
    assert "report.html" in README.split("## The run folder")[1].split("## Using")[0]


def test_every_column_of_the_metrics_is_explained():
    from hmnas_tf.stages.telemetry import COLUMNS

    section = README.split("Columns of `metrics.csv`")[1].split("\n## ")[0]
    rows = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]
    assert sorted(re.findall(r"`(\w+)`", "".join(rows))) == sorted(COLUMNS)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_python_blocks_are_valid_and_use_what_the_package_offers(name):
    for block in blocks("python", (ROOT / name).read_text(encoding="utf-8")):
        compile(block, name, "exec")
        for symbol in re.findall(r"\bhmnas_tf\.([a-zA-Z_]+)", block):
            module = importlib.util.find_spec(f"hmnas_tf.{symbol}")  # nobody need have imported it yet
            assert module or hasattr(hmnas_tf, symbol), symbol


def test_the_place_for_measurements_is_there_until_it_is_filled():
    section = README.split("## Measured")[1].split("\n## ")[0]
    assert "<!-- measured -->" in section or "|" in section


def test_contributing_names_dictionaries_that_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = [row for row in re.findall(r"^\| .* \|$", text, re.MULTILINE) if "hmnas_tf/" in row]
    assert len(rows) > 10
    for row in rows:
        _, place, names = (cell.strip() for cell in row.strip("|").split("|"))
        files = [ROOT / path for path in re.findall(r"`(hmnas_tf/[\w/]+\.py)`", place)]
        for name in re.findall(r"`([A-Z_]+)`", names):
            assert re.search(rf"^{name}\b.* = \{{", files[-1].read_text(encoding="utf-8"), re.MULTILINE), name


def test_contributing_draws_the_floors_of_the_contract():
    section = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Floors")[1]
    lines = section.split("```")[1].splitlines()
    drawn = [set(re.findall(r"(\w+)(?:\.py\b|/)", line)) for line in lines]
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (floors,) = (c["layers"] for c in settings["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    assert [row for row in drawn if row] == [set(floor.split(" | ")) for floor in floors]
    for name in set().union(*drawn):
        assert (ROOT / "hmnas_tf" / name).is_dir() or (ROOT / "hmnas_tf" / f"{name}.py").is_file()


def test_the_newest_change_is_this_version():
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest[1] == hmnas_tf.__version__


@pytest.mark.parametrize("name", OWN)
def test_no_registry_and_no_home_of_a_machine(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"pypi\.org|pythonhosted|index-url|npmjs|artifactory", text)
    assert not re.search(r"(?<![\w.])/(home|root|tmp|work)/", text)
