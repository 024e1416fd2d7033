"""The page as a browser lays it out, on a phone and on a desk, light and dark."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hmnas_tf.reporting.page import page

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason=f"none of {', '.join(BROWSERS)} is installed"),
]
# The page has no script and forbids any; a copy without that rule measures itself. It lies in a frame, because a
# browser's windows have a least width.
MEASURE = """<script>
const wide = [...document.querySelectorAll("body *")].filter(
  (e) => !e.closest("svg") && !e.closest(".scroll") && e.getBoundingClientRect().right > innerWidth + 1);
parent.document.title = JSON.stringify({
  width: document.documentElement.scrollWidth, window: innerWidth, wide: wide.map((e) => e.outerHTML.slice(0, 80)),
  commands: [...document.querySelectorAll(".code")].map((e) => e.scrollWidth - e.clientWidth),
  regions: [...document.querySelectorAll("body *")].filter((e) => e.scrollWidth > e.clientWidth + 1
    && getComputedStyle(e).overflowX == "auto").map((e) => [e.tabIndex, e.getAttribute("role"),
    e.getAttribute("aria-label"), getComputedStyle(e).backgroundAttachment]),
  scales: [...document.querySelectorAll("figure svg")].map((e) => e.clientWidth / e.viewBox.baseVal.width),
  used: [...document.querySelectorAll("main p, main table, #curves svg")].map((e) => e.offsetWidth
    || e.clientWidth).reduce((a, b) => Math.max(a, b)) / document.querySelector("main").clientWidth,
  ground: getComputedStyle(document.body).backgroundColor, images: [...document.images].map((i) => i.naturalWidth),
});
</script>"""


@pytest.fixture(scope="module")
def measured(make_facts, tmp_path_factory) -> Callable[..., dict[str, Any]]:
    """Lays the page out and returns what it measures of itself."""
    folder = tmp_path_factory.mktemp("browser")
    names = (
        "a_class_with_a_name_that_is_much_too_long_for_a_telephone_" * 3,
        "<script>alert(1)</script>",
        "$x$",
    )
    text = page(make_facts(class_names=names, workdir=Path("runs/" + "very_" * 20 + "long")))
    text = re.sub('<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    text = html.escape(text.replace("</body>", f"{MEASURE}</body>"))
    file = folder / "frame.html"

    def measure(width: int, *options: str) -> dict[str, Any]:
        frame = f'<iframe style="border: 0; width: {width}px; height: 844px" srcdoc="{text}"></iframe>'
        file.write_text(f"<!DOCTYPE html><title></title>{frame}", encoding="utf-8")
        command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", *options]
        command += [f"--user-data-dir={folder / 'profile'}", "--window-size=1400,900", "--hide-scrollbars"]
        command.append(file.as_uri())
        dumped = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True).stdout
        return json.loads(html.unescape(re.search(r"<title>(.*?)</title>", dumped)[1]))

    return measure


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_does_not_scroll_sideways(measured, width):
    found = measured(width)
    assert found["window"] == width
    assert found["wide"] == []
    assert found["width"] <= width
    assert len(found["images"]) > 3
    assert all(found["images"]), "every image is shown"


@pytest.mark.parametrize("width", [420, 1400])
def test_commands_are_wrapped_and_what_scrolls_shows_it_and_has_a_name(measured, width):
    found = measured(width)
    assert len(found["commands"]) > 3
    assert not any(found["commands"]), "no command is wider than its box"
    assert (len(found["regions"]) > 5) == (width < 1000)
    for tab, role, label, attachment in found["regions"]:
        assert (tab, role) == (0, "region")
        assert label
        assert attachment.startswith("local, local, scroll, scroll"), "shadows where there is more"
    assert min(found["scales"]) >= 0.99, "text of pictures does not shrink"
    assert found["used"] > 0.98, "the whole width is used"


def test_it_is_dark_where_the_reader_likes_it_dark(measured):
    grounds = [measured(1280, f"--blink-settings=preferredColorScheme={n}")["ground"] for n in (0, 1)]
    assert grounds == ["rgb(20, 24, 28)", "rgb(255, 255, 255)"]
