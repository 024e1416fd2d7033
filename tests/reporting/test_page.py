"""The whole page of runs in every state, with the worst names, read by a parser."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from hmnas_tf.config import Config
from hmnas_tf.console.progress import counted
from hmnas_tf.drawing.theme import DARKEST, SHADE
from hmnas_tf.reporting.artifacts import commands, serving_command
from hmnas_tf.reporting.head import found
from hmnas_tf.reporting.mistakes import mistakes
from hmnas_tf.reporting.page import POLICY, SECTIONS, page
from hmnas_tf.reporting.style import STYLE
from hmnas_tf.reporting.training import curves
from hmnas_tf.reporting.words import short, size
from hmnas_tf.scoring.scores import scores

LEAST_CONTRAST = 4.5  # of text, WCAG 2 AA


@pytest.fixture(scope="module")
def whole(make_facts) -> str:
    return page(make_facts())


def sections(parsed) -> list[str]:
    return [section["id"] for section in parsed.all("section")]


def test_a_finished_run_has_every_section(whole, parse):
    parsed = parse(whole)
    assert sections(parsed) == list(SECTIONS)
    assert [link["href"] for link in parsed.all("a")][: len(SECTIONS)] == [f"#{name}" for name in SECTIONS]
    assert "not finished" not in whole
    assert (
        len(parsed.all("svg")) == 1 + 1 + 3 + 2 + 4 + 1
    )  # the cells are alike; alpha and beta of two groups


def test_what_was_asked_and_reached_is_told(make_facts, parse):
    facts = make_facts()
    cells = [cell._replace(channels=2) for cell in facts.genotype.cells]
    narrow = dataclasses.replace(facts.genotype, cells=tuple(cells))
    cells = parse(page(dataclasses.replace(facts, genotype=narrow))).text["td"]
    for words in ("3,000", "2,950", "98.3 %", "120", "9,000", "850", "1,900"):
        assert words in cells
    before = parse(page(make_facts(stages=1, finished=False)))
    assert "budgets" in sections(before)
    assert "2,950" not in before.text["td"]
    results = {key: value for key, value in facts.results.items() if key != "budgets"}
    assert "budgets" not in sections(parse(page(dataclasses.replace(facts, results=results))))


@pytest.mark.parametrize(("stem", "names"), [("cifar", ["stem"]), ("imagenet", ["stem 0", "stem 1"])])
def test_channels_of_every_stem_are_told_apart(make_facts, parse, stem, names):
    facts = make_facts()
    topology = dataclasses.replace(facts.genotype.topology, stem=stem)
    narrow = dataclasses.replace(facts.genotype, topology=topology, stems=(2,) * len(names))
    heads = parse(page(dataclasses.replace(facts, genotype=narrow))).text["th"]
    rows = heads.index("Kept") + 2
    assert heads[rows : rows + len(names) + 1] == [*names, "cell 0"]


def test_nothing_in_the_page_may_load_or_run(whole, parse):
    (policy,) = (meta["content"] for meta in parse(whole).all("meta") if "http-equiv" in meta)
    assert policy == POLICY
    assert "default-src 'none'" in policy


def test_hostile_names_are_only_text(whole, parse):
    parsed = parse(whole)
    assert "<script" not in whole
    assert "<script>alert(1)</script>" in parsed.words("th"), "it is shown as it is"
    assert "$x$" in parsed.words("th")
    assert "folder:my <pictures>" in parsed.words("p")
    assert any("<script>" in image["alt"] for image in parsed.all("img"))
    assert "\0" not in whole


def test_numbers_of_the_run_are_in_it(whole, parse):
    parsed = parse(whole)
    assert parsed.words("h1") == "mine"
    for words in ("1.50 %", "12.3 kB", "5 k", "250"):
        assert words in parsed.words("span"), words
    assert "trained until 4 November 2026" in parsed.words("p")
    assert "report of 5 November 2026, 09:03 UTC" in parsed.words("p")
    cells = parsed.words("td")
    for words in ("2.00 %", "75.0 %", "990", "2.5e-06", "1.25 ms", "2.3 kB", "Keras, to use it", "CPU, GPU"):
        assert words in cells, words
    assert "model/derived%20folded.keras" in [link["href"] for link in parsed.all("a")]
    assert "genotype.json" in [link["href"] for link in parsed.all("a")]
    assert "metrics.csv" not in [link["href"] for link in parsed.all("a")], "it is not there"


def test_settings_that_are_not_the_defaults_are_marked(whole, parse):
    parsed = parse(whole)
    assert parsed.text["mark"] == ["folder:my <pictures>", "7"]
    for name in Config().to_dict():
        assert f"--{name}" in parsed.text["th"]
    assert "not the default cifar10" in parsed.words("td")


@pytest.mark.parametrize("stages", [0, 1, 2, 3])
def test_a_run_in_progress_says_how_far_it_is(make_facts, parse, stages):
    text = page(make_facts(stages=stages, finished=False, history=[]))
    parsed = parse(text)
    assert "This run is not finished." in parsed.words("strong")
    where = (
        "supernet training: 1 of 2 epochs",
        "mask search: 1 of 2",
        "fine-tuning: 1 of 2",
        "its export is not",
    )
    assert where[stages] in parsed.words("p")
    assert ("cells" in sections(parsed)) == (stages > 1)
    assert ("curves" in sections(parsed)) == (stages > 0)
    assert "mistakes" not in sections(parsed)
    assert "hmnas_tf.predict" not in text
    assert "--flagfile=runs/mine/run.flags" in text
    assert ("diamonds" in text) == (stages > 0)


def test_a_run_that_has_only_begun_has_a_page(make_facts, parse):
    facts = make_facts(stages=0, finished=False, results={"schema": 1, "stages": {}})
    assert "Nothing has been found yet." in parse(page(facts)).words("p")


def test_why_mistakes_are_missing_is_said(make_facts):
    text = mistakes(make_facts(judgement=None, unjudged="The images <are> gone."))
    assert "The images &lt;are&gt; gone." in text
    assert "<img" not in text


def test_a_network_without_mistakes(make_facts):
    judged = make_facts().judgement
    text = mistakes(make_facts(judgement=dataclasses.replace(judged, predicted=judged.labels)))
    assert "All test images are named rightly." in text
    assert "Most often taken for" not in text
    assert "Most often taken for" in mistakes(make_facts())
    assert text.count("100.00 %") >= 3 * len(
        make_facts().class_names
    )  # precision, recall and F1 of each class
    assert "<img" not in text


def test_scores_of_classes_and_their_means_are_told(make_facts):
    facts = make_facts()
    found = scores(facts.judgement.counts())
    text = mistakes(facts)
    for value in (*found["precision"], *found["recall"], *found["f1"], *found["macro"].values()):
        assert f"{value:.2f} %" in text
    assert f"{found['calibration_error']:.2f} %" in text


def test_of_many_classes_the_worst_are_listed(make_facts):
    text = mistakes(make_facts(class_names=tuple(f"class {number}" for number in range(150))))
    assert "Error of the 25 worst classes" in text
    assert "With 150 classes" in text
    assert "<svg" not in text


def test_what_was_found_is_said_in_words(make_facts):
    assert found(make_facts(config=Config(cell_sharing="cell"))) == (
        "The search kept 6 of 10 edges and 10 of 30 candidate operations in all 2 cells. The network has 75 % fewer "
        "parameters than the supernet. Its test error is 1.50 %, after 2.00 % of the supernet."
    )
    assert "nothing has been cut" in found(make_facts(stages=1, finished=False))
    shared = make_facts(config=Config(cell_sharing="all"))
    once = "counted once, as in mask search, that is 3 of 5 edges and 5 of 15 operations."
    assert once in found(shared)
    everywhere = "kept 6 of 10 edges and 10 of 30 candidate operations in all 2 cells."
    assert f"{everywhere} Some cells share their masks: {once}" in curves(shared), (
        "beside the chart that counts so"
    )
    assert once not in found(make_facts(config=Config(cell_sharing="all"), rows=[])), "it had no masks"
    given = make_facts(config=Config(genotype="DARTS_V2", initial_weights="random"))
    assert found(given).startswith("The given architecture kept 6 of 10 edges")


@pytest.mark.parametrize(
    "workdir, words",
    [
        ("runs/a", '-v "$PWD/runs/a/model/saved_model:/models/hmnas" '),
        ("/data/a", '-v "/data/a/model/saved_model:/models/hmnas" '),
        ("my $runs/a", "-v \"$PWD/\"'my $runs/a/model/saved_model:/models/hmnas' "),
    ],
)
def test_the_command_that_serves_is_quoted(workdir, words):
    assert words in serving_command(workdir)
    assert serving_command(workdir).startswith("docker run --rm ")


def test_commands_are_quoted_for_the_shell(make_facts):
    text = re.sub("</?span>", "", commands(make_facts(workdir=Path("my runs/a"))))
    assert "--workdir=&#x27;my runs/a&#x27; --images" in text
    assert "--flagfile=&#x27;my runs/a/run.flags&#x27; --workdir=&#x27;my runs/a_again&#x27;" in text


def test_numbers_are_short():
    assert [short(n) for n in (7, 999, 1000, 68274, 999_700, 2_523_392)] == [
        "7",
        "999",
        "1 k",
        "68.3 k",
        "1,000 k",
        "2.52 M",
    ]
    assert [size(n) for n in (12, 288654, 1286954)] == ["0.0 kB", "288.7 kB", "1.29 MB"]
    assert [counted(n, "epoch") for n in (0, 1, 2000)] == ["0 epochs", "1 epoch", "2,000 epochs"]


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    channels = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def themes() -> list[dict[str, str]]:
    found = [
        dict(re.findall(r"--(\w+): ([#\w.]+)", block))
        for block in re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    ]
    assert len(found) == 3, "light, dark, print"
    return found


def test_shades_are_seen_and_numbers_on_them_are_legible_in_each_theme():
    for theme in themes():
        bright, paper = (
            [int(colour[1:].ljust(6, colour[-1])[i : i + 2], 16) for i in (0, 2, 4)]
            for colour in (SHADE, theme["paper"])
        )
        bright = [min(255.0, float(theme["bright"]) * channel) for channel in bright]

        def covered(opacity: float, bright=bright, paper=paper) -> str:
            mixed = (opacity * b + (1 - opacity) * p for b, p in zip(bright, paper, strict=True))
            return "#" + "".join(f"{round(channel):02x}" for channel in mixed)

        assert contrast(theme["ink"], covered(DARKEST)) >= LEAST_CONTRAST, theme
        assert contrast(theme["paper"], covered(DARKEST)) >= 3, theme
        assert contrast(theme["paper"], covered(1.0)) >= 4.5, theme


def test_text_is_legible_in_each_theme():
    for theme in themes():
        for text in ("ink", "muted", "link"):
            for ground in ("paper", "card", "note", "mark"):
                if (text, ground) in {("muted", "mark"), ("link", "mark"), ("muted", "note")}:
                    continue  # never together
                assert contrast(theme[text], theme[ground]) >= LEAST_CONTRAST, (text, ground)
