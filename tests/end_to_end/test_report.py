"""The report of runs that really were: finished, in progress, without their images, without a place to write it."""

from __future__ import annotations

import re
import runpy
import shutil
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hmnas_tf import command_line, report
from hmnas_tf.runs import run_report
from hmnas_tf.stages.telemetry import read_rows
from hmnas_tf.storage import atomic
from hmnas_tf.storage.possession import held
from hmnas_tf.storage.run_folder import read_results

pytestmark = pytest.mark.slow


def page_of(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def visible(text: str) -> str:
    """Returns the words of a page, of pictures their descriptions only."""
    return re.sub(r"<[^>]*>", " ", re.sub(r"<svg.*?</svg>|</?span>", "", text, flags=re.DOTALL))


def errors_by_class(text: str) -> str:
    return text.split("<caption>Error by class</caption>")[1].split("</table>")[0]


@pytest.fixture
def images_found(patterns, monkeypatch) -> None:
    """The command finds the images of these runs, which were never in a file."""
    monkeypatch.setattr(command_line, "images", lambda config, say: patterns)


@pytest.fixture
def copied(short, tmp_path) -> Path:
    return shutil.copytree(short.workdir, tmp_path / short.workdir.name)


def cut_back(folder: Path, stages: int) -> None:
    """Leaves of a run what there was after so many stages, and one epoch of the next."""
    results = read_results(folder)
    kept = dict(list(results["stages"].items())[:stages])
    results = {key: value for key, value in results.items() if key not in ("artifacts", "derived")}
    atomic.write_json(folder / "results.json", results | {"stages": kept})
    names = ("supernet training", "mask search", "fine-tuning")
    lines = (folder / "metrics.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    rows = [
        line
        for line, row in zip(lines[1:], read_rows(folder / "metrics.csv"), strict=True)
        if row["stage"] in names[:stages] or (row["stage"] == names[stages] and row["epoch"] == "1")
    ]
    atomic.write_text(folder / "metrics.csv", "".join([lines[0], *rows]))
    if stages < 2:
        (folder / "genotype.json").unlink()
    shutil.rmtree(folder / "model")
    (folder / "report.html").unlink()


def test_search_writes_the_report_last(whole):
    assert whole.lines[-1] == f"report: {whole.workdir / 'report.html'}"
    text = visible(page_of(whole.workdir))
    final = whole.result.results["stages"]["finetuned"]
    assert f"{final['test_error']:.2f} %" in text
    assert f"{final['params']:,}" in text
    kept, edges = whole.result.results["derived"], 2 * 2
    assert f"The search kept {kept['edges']} of {edges} edges and {kept['operations']} of {3 * edges}" in text
    for artifact in whole.result.results["artifacts"].values():
        assert f'href="{artifact["path"]}"' in page_of(whole.workdir)
    for name in ("Fig. 3", "Fig. 4 b", "Fig. 6", "(alpha)", "(beta)", "What the masks leave", "ant", "dog"):
        assert name in text, name
    assert (
        f"docker run --rm -p 8501:8501 -v &quot;{whole.workdir}/model/saved_model:/models/hmnas&quot;" in text
    )


def test_mistakes_of_the_page_are_those_of_the_network(short, patterns):
    error = short.result.results["stages"]["finetuned"]["test_error"]
    wrong = round(error / 100 * len(patterns.y_test))
    found = re.findall(r'<td class="number">(\d+)</td>', errors_by_class(page_of(short.workdir)))
    assert sum(map(int, found[::2])) == len(patterns.y_test)
    assert sum(map(int, found[1::2])) == wrong
    assert page_of(short.workdir).count("<img") == min(wrong, 24)


def test_the_command_writes_it_again_while_another_holds_the_folder(short, copied, images_found, capsys):
    (copied / "report.html").unlink()
    others = {
        path: path.read_bytes() for path in copied.rglob("*") if path.is_file() and path.name != "run.flags"
    }
    with held(copied):
        report.run(copied)
    shown = capsys.readouterr()
    assert shown.out == f"report: {copied / 'report.html'}\n"
    assert shown.err == ""
    assert errors_by_class(page_of(copied)) == errors_by_class(page_of(short.workdir))
    others.pop(copied / ".lock", None)
    assert {path: path.read_bytes() for path in others} == others


@pytest.mark.parametrize("stages, where", [(0, "supernet training: 1 of 3"), (1, "mask search: 1 of 2")])
def test_a_run_in_progress_has_a_report(copied, stages, where, capsys):
    cut_back(copied, stages)
    report.run(copied)
    text = visible(page_of(copied))
    assert "This run is not finished." in text
    assert where in text
    assert "Where the network is wrong" not in text
    assert capsys.readouterr().err == "", "the images were not needed"
    assert sorted(path.name for path in copied.iterdir() if path.name.startswith("report")) == ["report.html"]


def test_without_the_images_it_is_written_without_mistakes(copied, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # patterns.npz is not there, nor anywhere
    report.run(copied)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("hmnas_tf.report: The test images could not be shown to the network again: ")
    assert "patterns.npz" in line
    assert "The test images could not be shown to the network again: " in visible(page_of(copied))
    assert "<img" not in page_of(copied)


def test_a_changed_network_is_not_asked(copied, images_found, capsys):
    with open(copied / "model" / "derived_folded.keras", "ab") as file:
        file.write(b"!")
    report.run(copied)
    assert "SHA-256 differs" in capsys.readouterr().err
    assert "SHA-256 differs" in visible(page_of(copied))


def test_no_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no run"):
        report.run(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_report_that_cannot_be_written_is_a_warning(patterns, monkeypatch):
    def full(*arguments):
        raise OSError("No space left\non device")

    monkeypatch.setattr(run_report, "write_report", full)
    warnings: list[str] = []
    run = types.SimpleNamespace(dataset=patterns, folder=None, config=None, warn=warnings.extend)
    run_report.report(run, np.zeros((len(patterns.y_test), 4), np.float32))
    assert warnings == [
        "the report was not written (OSError: No space left on device): python -m hmnas_tf.report writes it."
    ]


def test_programs_of_the_model_card_name_what_a_picture_shows(whole, patterns, tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(whole.workdir / "model", tmp_path / "model")
    monkeypatch.chdir(folder)
    Image.fromarray(patterns.x_test[0, ..., 0]).save("picture.png")
    text = Path("README.md").read_text(encoding="utf-8")
    program = "\n".join(re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    Path("program.py").write_text(program, encoding="utf-8")
    capsys.readouterr()
    runpy.run_path("program.py")
    found = capsys.readouterr().out.split()
    image = (patterns.x_test[:1] / 255 - patterns.mean) / patterns.std
    logits = np.asarray(whole.result.model(image.astype(np.float32), training=False))
    assert found == [patterns.class_names[logits[0].argmax()]] * 4, "Keras, onnxruntime, TensorFlow, LiteRT"


def test_the_model_card_is_written_with_the_report_of_a_finished_run_only(copied, images_found):
    card = copied / "model/README.md"
    before = card.read_text(encoding="utf-8")
    card.write_text("changed")
    report.run(copied)
    assert card.read_text(encoding="utf-8") == before
    card.unlink()
    cut_back(copied, 2)
    report.run(copied)
    assert not card.exists()
