"""Measured tables are what their CSV files say: tools/measured_tables.py, and what the tools that measure give it."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import deployment_table
import measured_tables
import pytest
from measured_tables import BEGIN, END, csv_of, markdown, places, publish, read, rendered, require_places

from hmnas_tf.ablation import ablation
from hmnas_tf.ablation.ablation_table import markdown as ablation_table

ROOT = Path(__file__).parents[2]
SHOWN = {page: list(places(page)) for page in measured_tables.pages() if list(places(page))}
ABLATIONS = sorted((ROOT / "docs").glob("ablation_*.csv"))  # `hmnas_tf.ablate` makes means of each


@pytest.mark.parametrize("page", SHOWN, ids=lambda page: page.name)
def test_a_page_has_the_tables_of_its_files(page):
    assert rendered(page) == page.read_text(encoding="utf-8"), (
        "change the CSV file, then run `python tools/measured_tables.py`"
    )


@pytest.mark.parametrize("page", SHOWN, ids=lambda page: page.name)
def test_a_page_names_the_file_of_each_table(page):
    """Where the numbers are, and with them who wrote them: a command, or a hand."""
    text = page.read_text(encoding="utf-8")
    for place in SHOWN[page]:
        assert f"]({place.file})" in text, f"{page.name} does not link {place.file}"


def test_every_file_is_the_table_of_one_page():
    found = [(page.parent / place.file).resolve() for page, tables in SHOWN.items() for place in tables]
    assert sorted([*found, *ABLATIONS]) == sorted((ROOT / "docs").glob("*.csv"))


@pytest.mark.parametrize("file", ABLATIONS, ids=lambda file: file.stem)
def test_the_table_of_an_ablation_is_what_its_command_makes_of_the_file(file):
    records = [
        {name: value if name == "variant" else float(value) for name, value in row.items()}
        for row in read(file)
    ]
    titles = {name: variant.title for name, variant in ablation.VARIANTS.items()}
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert ablation_table(records, titles) in page
    assert f"]({file.name})" in page


def test_a_table_has_commas_in_large_numbers_and_nothing_else_changed():
    rows = [{"a|b": "2950390", "c": "2790.5"}, {"a|b": 999, "c": ""}, {"a|b": "1e-3", "c": "1000 x"}]
    expected = ["| a\\|b | c |", "|---|---|", "| 2,950,390 | 2790.5 |", "| 999 | |", "| 1e-3 | 1000 x |"]
    assert markdown(rows).splitlines() == expected


def test_a_divided_table_has_a_heading_for_each_value():
    rows = [
        {"size": s, "n": n, "ms": ms} for s, n, ms in (("a", 1, 5), ("a", 2, 6), ("b", 1, 7), ("a", 1, 8))
    ]
    text = markdown(rows, ("size", "n"))
    assert re.findall("^### (.*)$", text, re.MULTILINE) == ["Size: a, n: 1", "Size: a, n: 2", "Size: b, n: 1"]
    assert text.startswith("### Size: a, n: 1\n\n| ms |\n|---|\n| 5 |\n| 8 |\n\n### ")
    with pytest.raises(ValueError, match="expected some of size, n, ms, not speed"):
        markdown(rows, ("speed",))


@pytest.fixture
def page(tmp_path) -> Path:
    """A page with the places of two tables."""
    path = tmp_path / "page.md"
    marks = [BEGIN.format("page_steps.csv by size"), END, "between", BEGIN.format("page_sizes.csv"), END]
    path.write_text("\n".join(["before", *marks, "after\n"]), encoding="utf-8")
    return path


TABLES = {"steps": [{"size": "a", "ms": "1.5"}], "sizes": [{"size": "a", "weights": 1234}]}


def test_what_is_published_stands_in_the_files_and_comes_from_there(page, monkeypatch, capsys):
    require_places(str(page), TABLES)
    publish(str(page), TABLES)
    text = page.read_text(encoding="utf-8")
    assert csv_of(page, "sizes").read_text(encoding="utf-8") == "size,weights\na,1234\n"
    assert text.startswith(f"before\n{BEGIN.format('page_steps.csv by size')}\n\n### Size: a\n\n| ms |\n")
    assert f"\n| a | 1,234 |\n\n{END}\nafter\n" in text
    assert rendered(page) == text, "once more changes nothing"

    csv_of(page, "sizes").write_text("size,weights\nb,5678\n", encoding="utf-8")
    monkeypatch.setattr(measured_tables, "ROOT", page.parent)
    monkeypatch.setattr(measured_tables, "pages", lambda: [page])
    assert measured_tables.main([]) == 0
    assert capsys.readouterr().out == "page.md\n"
    assert page.read_text(encoding="utf-8") == text.replace("| a | 1,234 |", "| b | 5,678 |")


def test_without_a_page_tables_are_printed(capsys):
    publish(None, TABLES)
    assert "## sizes\n\n| size | weights |\n|---|---|\n| a | 1,234 |\n" in capsys.readouterr().out


def test_a_page_without_a_place_is_refused_before_anything_is_measured(page):
    with pytest.raises(ValueError, match=r"expected the marks <!-- table: page_speed\.csv --> and"):
        require_places(str(page), ["steps", "speed"])
    require_places(None, ["speed"])


@pytest.mark.parametrize(
    "marks", [[BEGIN.format("a.csv")], [END], [BEGIN.format("a.csv"), BEGIN.format("b.csv"), END]]
)
def test_a_mark_alone_is_refused(marks, page):
    page.write_text("\n".join([*marks, ""]), encoding="utf-8")
    with pytest.raises(ValueError, match=r"page\.md: expected <!-- table: FILE\.csv --> and .* in turn"):
        rendered(page)


@pytest.mark.parametrize(
    ("text", "words"),
    [("a,b\n", "there is no row"), ("a,b\n1,2\n3\n", "line 3 has"), ("a,b\n1,2,3\n", "line 2 has")],
)
def test_a_file_that_is_no_table_is_refused(text, words, tmp_path):
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=words):
        read(tmp_path / "a.csv")


def test_a_file_that_is_not_there_is_one_line(page, monkeypatch, capsys):
    monkeypatch.setattr(measured_tables, "pages", lambda: [page])
    assert measured_tables.main([]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "page_sizes.csv" in line
    assert measured_tables.main(["docs/results.md"]) == 2


def test_the_table_of_artifacts_has_ratios_to_the_keras_file():
    artifact = {"bytes": 2000, "gzip_bytes": 1000, "relative_difference": 2e-7, "test_error": 1.25}
    results = {
        "dataset": {"name": "digits", "test_examples": 355},
        "versions": {"tensorflow": "2.21.0"},
        "derived": {"params_dense": 5000, "params_nonzero": 4000, "flops": 3000}
        | {"folded": {"params": 4500, "params_nonzero": 3500, "flops": 3000}},
        "artifacts": {
            name: artifact | {"path": f"model/{name}.x"} for name in ("keras", "keras_folded", "onnx")
        },
    }
    times = {"keras": (10.0, 20.0), "keras_folded": (5.0, 15.0), "onnx": (1.0, 40.0)}
    tables = deployment_table.tables(results, times, rounds=3)
    assert {*tables, "rivals", "memory"} == set(deployment_table.TABLES)
    last = tables["artifacts"][-1]
    assert last["artifact"] == "`onnx.x`"
    assert (last["batch of 1, ms"], last["ratio of 1"]) == ("1.00", "0.100")
    assert (last["batch of 32, ms"], last["ratio of 32"]) == ("40.00", "2.000")
    assert [row["not 0"] for row in tables["networks"]] == [4000, 3500]
    require_places(str(ROOT / "docs" / "deployment.md"), tables)
    for name, rows in tables.items():
        with csv_of(ROOT / "docs" / "deployment.md", name).open(encoding="utf-8", newline="") as file:
            assert next(csv.reader(file)) == list(rows[0]), "the columns of the file in docs/"


@pytest.mark.slow
def test_the_tool_that_measures_artifacts_refuses_a_page_without_marks(tmp_path):
    command = [sys.executable, ROOT / "tools" / "deployment_table.py", f"--workdir={tmp_path}"]
    result = subprocess.run(
        [*command, f"--into={ROOT / 'README.md'}"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 2
    assert "expected the marks" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
