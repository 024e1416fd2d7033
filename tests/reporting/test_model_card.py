"""The model card of a run with the worst names: its front matter is YAML, its text shows them as they are."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest

from hmnas_tf.console.mistakes import in_a_line
from hmnas_tf.reporting.loading import PROGRAMS, loading
from hmnas_tf.reporting.model_card import MANY, card, plain

NASTY = (
    *(
        "a|b",
        "**bold**",
        "`code`",
        "<script>alert(1)</script>",
        "[link](javascript:alert(1))",
        "![x](y)",
        "# title",
    ),
    *(
        "---",
        "- item",
        "1. item",
        "yes",
        "null",
        "key: value",
        "#comment",
        "'single' \"double\" \\back\\slash\\",
    ),
    *("&amp; &#33;", "$x^2$", "~~gone~~", "http://example.org", "@somebody", ":smile:", "\\|", "trailing\\"),
    *(
        "猫",
        "\N{GRINNING FACE}",
        "a\N{LINE SEPARATOR}b",
        "right\N{RIGHT-TO-LEFT OVERRIDE}left",
        "x\x7fy",
        "<!-- c -->",
    ),
)


def facts_of(make_facts, **dataset):
    facts = make_facts(NASTY)
    results = facts.results | {"dataset": facts.results["dataset"] | dataset}
    return dataclasses.replace(facts, results=results)


def front_matter(text: str) -> dict:
    yaml = pytest.importorskip("yaml")
    begin, matter, _ = text.split("---\n", 2)
    assert begin == ""
    return yaml.safe_load(matter)


@pytest.mark.parametrize("name", [*NASTY, "digits", "folder:/home/me/my: [pictures]", "npz:C:\\data\\x.npz"])
def test_front_matter_is_yaml_whatever_the_data_are_called(name, make_facts):
    text = card(facts_of(make_facts, name=name))
    found = front_matter(text)
    assert set(found) == {"library_name", "pipeline_tag", "tags", "model-index"}
    assert found["pipeline_tag"] == "image-classification"
    assert found["library_name"] == "keras"
    assert {"hm-nas", "tf-saved-model"} <= set(found["tags"])
    assert "onnx" not in found["tags"], "it was not exported"
    (index,) = found["model-index"]
    (result,) = index["results"]
    assert index["name"] == "mine"
    assert result["metrics"] == [{"type": "accuracy", "name": "Test accuracy", "value": 0.985}]
    last = re.split(r"[/\\]", name.removeprefix("folder:").removeprefix("npz:"))[-1]
    if name.startswith(("folder:", "npz:")):
        assert result["dataset"]["name"] == last, "where it lay is nobody's business"
        assert "/home/me" not in text
    else:
        assert result["dataset"]["name"] == name


def test_front_matter_is_json_line_by_line(make_facts):
    """So it is right without a library of YAML, too."""
    lines = card(make_facts(("a", "b"))).split("---\n")[1].splitlines()
    assert {line.split(": ", 1)[0] for line in lines} >= {"tags", "model-index"}
    for line in lines:
        json.loads(line.split(": ", 1)[1])


@pytest.fixture(scope="module")
def rendered(make_facts) -> list[str]:
    """The cells of the first table as a reader of Markdown sees them, row by row."""
    markdown_it = pytest.importorskip("markdown_it")
    text = card(facts_of(make_facts, name="folder:<b>|x")).split("---\n", 2)[2]
    tokens = markdown_it.MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)
    assert not [token for token in tokens if token.type == "html_block"]
    rows, row = [], None
    for token in tokens:
        if token.type == "tr_open":
            row = []
        elif token.type == "tr_close":
            rows.append(row)
        elif token.type == "inline" and row is not None:
            kinds = {child.type for child in token.children}
            assert kinds <= {"text", "text_special", "code_inline"}, (token.content, kinds)
            row.append("".join(child.content for child in token.children))
    return rows


def test_names_of_classes_are_shown_as_they_are(rendered):
    heads, *rows = rendered
    assert heads == ["label", "class", "test images", "of these recognised %", "rightly called so %"]
    assert [row[:2] for row in rows[: len(NASTY)]] == [
        [str(label), in_a_line(name)] for label, name in enumerate(NASTY)
    ]


def test_measures_of_classes_are_those_of_the_test_images(make_facts, rendered):
    facts = facts_of(make_facts)
    images = [int(row[2]) for row in rendered[1 : 1 + len(NASTY)]]
    assert sum(images) == len(facts.judgement.labels)
    for label, row in enumerate(rendered[1 : 1 + len(NASTY)]):
        of_class = facts.judgement.labels == label
        right = (facts.judgement.predicted[of_class] == label).sum()
        assert row[3] == (f"{100 * right / of_class.sum():.1f}" if of_class.any() else "")
        called = (facts.judgement.predicted == label).sum()
        assert row[4] == (f"{100 * right / called:.1f}" if called else "")


def test_only_what_is_known_is_said(make_facts):
    facts = make_facts(("a", "b"))
    unjudged = card(dataclasses.replace(facts, judgement=None))
    assert "recognised" in card(facts)
    assert "recognised" not in unjudged
    assert "| 0 | a |" in unjudged
    assert "licence" in unjudged
    assert "license" not in front_matter(unjudged)
    assert "250" in unjudged
    assert "5,000 multiply-adds" in unjudged
    assert "1.25" in unjudged, "milliseconds"
    assert "arXiv:1909.00122" in unjudged
    many = card(make_facts(tuple(f"class {number}" for number in range(MANY + 1))))
    assert f"<summary>{MANY + 1} classes</summary>\n\n| label" in many


def test_only_files_that_are_there_are_loaded(make_facts):
    facts = make_facts(("a", "b"))
    text = card(facts)
    assert "keras.models.load_model('derived folded.keras')" in text
    assert "tf.saved_model.load('saved_model/1')" in text
    assert "onnxruntime.InferenceSession" not in text
    assert "http.server" not in text
    artifact = facts.results["artifacts"]["keras_folded"]
    artifacts = {name: artifact | {"path": f"model/{name} file"} for name in (*PROGRAMS, "web")}
    whole = card(dataclasses.replace(facts, results=facts.results | {"artifacts": artifacts}))
    for name in PROGRAMS:
        assert f"'{name} file'" in whole
    assert "python -m http.server --directory 'web file'\n" in whole


@pytest.mark.parametrize(
    ("shape", "words"), [((8, 8, 1), 'convert("L")'), ((6, 5, 3), "picture.resize((5, 6)")]
)
def test_the_program_that_reads_a_picture_fits_the_network(shape, words, make_facts):
    data = make_facts().results["dataset"] | {"image_shape": shape}
    text = loading({"dataset": data | {"mean": [0.5] * shape[2], "std": [0.25] * shape[2]}, "artifacts": {}})
    assert words in text
    assert "pixels / 255 - 0.5) / 0.25" in text
    compile(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], "card", "exec")


def test_images_that_are_no_pictures_have_no_program_for_pictures():
    data = {"image_shape": (8, 8, 5), "mean": [0.5] * 5, "std": [0.1, 0.2, 0.3, 0.4, 0.5]}
    text = loading({"dataset": data, "artifacts": {}})
    assert "float32 [N, 8, 8, 5]" in text
    assert "PIL" not in text


def test_a_text_without_signs_stays_as_it_is():
    assert plain("conv 3x3, 12.5 % (best)") == "conv 3x3, 12.5 % (best)"


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (("auto",), "\nAugmentation: crop.\n"),
        (("flip", "mixup"), "\nAugmentation: flip, mixup.\n"),
        (("none",), ""),
    ],
)
def test_the_card_names_the_augmentation_of_the_run(asked, line, make_facts):
    facts = facts_of(make_facts, augmentation=["crop"])
    text = card(dataclasses.replace(facts, config=dataclasses.replace(facts.config, augmentation=asked)))
    assert line in text
    assert text.count("Augmentation:") == bool(line)
