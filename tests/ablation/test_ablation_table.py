"""Means and deviations against the statistics written by hand, and a plot that shows every row."""

from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from hmnas_tf.ablation.ablation import VARIANTS
from hmnas_tf.ablation.ablation_table import COLUMNS, PAPER, STAGE_TITLES, csv_text, draw, markdown

TITLES = {name: variant.title for name, variant in VARIANTS.items()}
ERRORS = {"multi_level_masks": [2.0, 3.0, 7.0], "random": [5.5]}


def record(name: str, seed: int, error: float) -> dict:
    sizes = {"params": 1000 + 10 * seed, "params_nonzero": 900, "flops": 123456}
    return {"variant": name, "seed": seed, "test_error": error, "epochs": 7, "seconds": 12.5} | sizes


RECORDS = [record(name, seed, error) for name, errors in ERRORS.items() for seed, error in enumerate(errors)]


def cells(name: str) -> list[str]:
    title = (TITLES | STAGE_TITLES)[name]
    (line,) = (line for line in markdown(RECORDS, TITLES).splitlines() if line.startswith(f"| {title} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_is_the_mean_and_the_sample_deviation_over_seeds():
    row = cells("multi_level_masks")
    assert row[1:3] == ["3", f"{np.mean([2, 3, 7]):.2f} ± {np.std([2, 3, 7], ddof=1):.2f}"]
    assert row[3:] == ["", "1,010 ± 10", "900 ± 0", "123,456 ± 0", "7", "12", PAPER["multi_level_masks"]]


def test_errors_are_compared_with_the_whole_methods_seed_by_seed():
    records = [*RECORDS, *(record("multi_level_top2", seed, 4.0) for seed in (2, 1, 5))]
    differences = [4.0 - 7.0, 4.0 - 3.0]
    (line,) = (line for line in markdown(records, TITLES).splitlines() if TITLES["multi_level_top2"] in line)
    assert line.split(" | ")[3] == f"{np.mean(differences):+.2f} ± {np.std(differences, ddof=1) / 2**0.5:.2f}"


def test_one_seed_has_no_deviation_and_rows_without_runs_are_left_out():
    assert cells("random")[2] == "5.50"
    lines = markdown(RECORDS, TITLES).splitlines()
    assert len(lines) == 2 + len(ERRORS)
    assert len({line.count("|") for line in lines}) == 1


def test_csv_has_one_line_a_run():
    rows = list(csv.DictReader(io.StringIO(csv_text(RECORDS))))
    assert [tuple(row) for row in rows] == [COLUMNS] * len(RECORDS)
    assert [float(row["test_error"]) for row in rows] == [row["test_error"] for row in RECORDS]


def test_every_variant_and_stage_has_the_papers_value():
    assert set(PAPER) == set(TITLES) | set(STAGE_TITLES)


def test_the_plot_names_its_rows_and_is_the_same_again(tmp_path):
    records = [*RECORDS, *(record(name, 0, 4.0) for name in (*TITLES, *STAGE_TITLES))]
    assert draw(tmp_path / "a.svg", records, TITLES) == "a.svg"
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert ElementTree.fromstring(text).tag.endswith("svg")
    for title in (TITLES | STAGE_TITLES).values():
        assert f"<!-- {title} -->" in text, title
    draw(tmp_path / "b.svg", records, TITLES)
    assert (tmp_path / "b.svg").read_text(encoding="utf-8") == text


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_differ(name):
    assert [other for other in VARIANTS if VARIANTS[other].changes == VARIANTS[name].changes] == [name]
