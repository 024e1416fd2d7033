"""Pictures of several kinds live in one page, take its colours, and say what users wrote."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from hmnas_tf.drawing.cell_graph import draw_cell
from hmnas_tf.drawing.confusion import confusion_matrix
from hmnas_tf.drawing.curves import errors
from hmnas_tf.drawing.heat_maps import edge_heat_map, operation_heat_map
from hmnas_tf.drawing.picture import as_png, as_svg
from hmnas_tf.drawing.theme import FAINT, VARIABLES, themed

SVG = "{http://www.w3.org/2000/svg}"
NAMES = ("a$b$<c>", "x & \"y\" 'z'", 'id="d" url(#e)', "飛行機", "bell\x07 line\nend", "${\\alpha}$")
ROWS = [{"stage": "supernet training", "epoch": str(e), "error": "9.5", "test_error": "8"} for e in (1, 2)]


@pytest.fixture(scope="module")
def figures(make_topology, make_cell) -> dict[str, Figure]:
    topology = make_topology()
    random = np.random.default_rng(0)
    values = random.random((14, 7))
    return {
        "cell": draw_cell(topology, make_cell(topology, 0.7, 0.3), index=0),
        "confusion": confusion_matrix(random.integers(0, 9, (6, 6)), NAMES),
        "curves": errors(ROWS),
        "edges": edge_heat_map(values.T, topology, title="edges"),
        "operations": operation_heat_map(values, topology, gates=values > 0.5, title="operations"),
    }


def svg_of(figure: Figure, key: str = "k1") -> str:
    return as_svg(figure, title="a <title> & more", description='it "shows" a > b', key=key)


@pytest.fixture(scope="module")
def pictures(figures) -> dict[str, str]:
    return {name: svg_of(figure, key=f"k-{name}") for name, figure in figures.items()}


def words(root: ElementTree.Element) -> list[str]:
    return ["".join(element.itertext()) for element in root.iter(f"{SVG}text")]


def test_a_picture_is_named_scales_and_has_nothing_of_matplotlibs_own(pictures):
    for name, text in pictures.items():
        root = ElementTree.fromstring(text)
        assert root.tag == f"{SVG}svg"
        assert root.get("role") == "img"
        assert re.fullmatch(r"0 0 [\d.]+ [\d.]+", root.get("viewBox"))
        assert not {"width", "height"} & set(root.attrib)
        title, description = list(root)[:2]
        assert (title.tag, title.text) == (f"{SVG}title", "a <title> & more")
        assert (description.tag, description.text) == (f"{SVG}desc", 'it "shows" a > b')
        assert root.get("aria-labelledby").split() == [title.get("id"), description.get("id")]
        assert not list(root.iter(f"{SVG}metadata")), name
        assert not list(root.iter(f"{SVG}style")), "its rule for * would rule the page"
        assert "<?xml" not in text
        assert "<!DOCTYPE" not in text


def test_ids_are_unique_in_a_page_and_references_find_them(pictures):
    everything: list[str] = []
    for name, text in pictures.items():
        root = ElementTree.fromstring(text)
        ids = [element.get("id") for element in root.iter() if element.get("id")]
        assert all(found.startswith(f"k-{name}-") for found in ids)
        everything += ids
        values = [v for e in root.iter() for v in e.attrib.values() if not v.startswith("data:")]
        references = {r for v in values for r in re.findall(r"url\(#([^)]*)\)", v)}
        references |= {v[1:] for v in values if re.fullmatch(r"#k-.*", v)}
        assert references <= set(ids)
        assert not any(v.startswith("http") for v in values), "a page needs no network"
    assert len(set(everything)) == len(everything)


def test_ink_faint_lines_and_paper_are_the_pages(pictures):
    for name, text in pictures.items():
        for colour, variable in VARIABLES.items():
            assert colour not in text, name
            assert variable in text or colour == FAINT, name
        styles = " ".join(e.get("style", "") for e in ElementTree.fromstring(text).iter())
        found = set(re.findall(r"#[0-9a-f]{6}|\b(?:black|white)\b", styles))
        grey = {c for c in found if c in ("black", "white") or len({c[1:3], c[3:5], c[5:]}) == 1}
        assert not grey - {"#999999"}, f"{name}: black, white and greys are the page's to choose"
        for element in ElementTree.fromstring(text).iter(f"{SVG}text"):
            assert "fill: var(--" in element.get("style"), name


def test_text_stays_text_whatever_users_call_their_classes(pictures):
    found = words(ElementTree.fromstring(pictures["confusion"]))
    for name in NAMES:
        assert found.count(re.sub(r"[\x00-\x1f]", "�", name)) == 2, name
    found = words(ElementTree.fromstring(pictures["cell"]))
    assert "sep_conv_3x3" in found
    assert "output" in found


def test_the_same_figure_is_the_same_text_whatever_the_users_settings(figures, make_topology):
    values = np.arange(98.0).reshape(14, 7)

    def drawn() -> str:
        return svg_of(operation_heat_map(values, make_topology(), title="x"))

    expected = drawn()
    with matplotlib.rc_context(
        {"font.size": 30, "axes.grid": False, "svg.fonttype": "path", "lines.linewidth": 9}
    ):
        before = dict(matplotlib.rcParams)
        assert drawn() == expected
        assert dict(matplotlib.rcParams) == before
    assert svg_of(figures["cell"]) == svg_of(figures["cell"])


@pytest.mark.parametrize("key", ["", "1a", "a b", 'a"', "a)", "ä"])
def test_keys_that_are_no_ids_are_refused(key, figures):
    with pytest.raises(ValueError, match="expected a word of letters"):
        svg_of(figures["curves"], key=key)


def test_png_has_the_asked_size_and_is_dark_on_white(figures):
    figure = figures["curves"]
    image = Image.open(io.BytesIO(as_png(figure, 50))).convert("L")
    assert image.size == tuple(int(50 * inches) for inches in figure.get_size_inches())
    pixels = np.asarray(image)
    assert pixels[0, 0] > 250
    assert pixels.min() < 100
    assert as_png(figure, 50) == as_png(figure, 50)


def test_a_glyph_that_the_font_lacks_is_no_warning(figures, recwarn):
    assert as_png(figures["confusion"])
    assert not recwarn.list


def test_themed_functions_keep_their_names():
    def draw() -> Figure:
        """Draws."""
        return Figure()

    assert themed(draw).__doc__ == "Draws."
