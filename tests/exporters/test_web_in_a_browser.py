"""The page as people use it: in Chromium, from a server that only hands out files."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import threading
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from chromium import BROWSERS, PROGRAM, Page
from PIL import Image
from sklearn.datasets import load_sample_images

from hmnas_tf.data.image_files import read_image
from hmnas_tf.data.resizing import fit

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason=f"none of {', '.join(BROWSERS)} is installed"),
]
NAMES = [
    "<b>bold</b>",
    "a_class_with_a_name_that_is_much_too_long_for_a_telephone_" * 3,
    "زرافة",
    "$x$",
    "&amp;",
]


class Quiet(http.server.SimpleHTTPRequestHandler):
    """What `python -m http.server` runs, without its log."""

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def server(page_alone, tmp_path_factory):
    """The address of a folder: `model/web/` is the page, `names/` the same with names that are hard to show."""
    root = tmp_path_factory.mktemp("served")
    shutil.copytree(page_alone[0], root / "model/web")
    for name in ("names", "broken"):
        shutil.copytree(page_alone[0], root / name)
    facts = json.loads((root / "names/labelling.json").read_text())
    (root / "names/labelling.json").write_text(json.dumps(facts | {"class_names": NAMES, "white": 4095}))
    (root / "broken/onnxruntime-web.wasm").unlink()
    handler = functools.partial(Quiet, directory=root)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://localhost:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser(server, tmp_path_factory):
    page = Page(tmp_path_factory.mktemp("profile"))
    yield page
    page.close()


@pytest.fixture
def page(browser, server):
    """The page, ready for pictures; what it loads must all come from its own folder, and none may fail."""
    browser.look()
    browser.open(f"{server}/model/web/")
    browser.wait("document.querySelector('#status').textContent.startsWith('Ready')")
    yield browser
    wanted = [
        about["request"]["url"] for name, about in browser.events if name == "Network.requestWillBeSent"
    ]
    assert len(wanted) >= 9
    assert all(url.startswith((f"{server}/model/web/", "blob:", "data:")) for url in wanted), wanted
    bad = ("Log.entryAdded", "Runtime.exceptionThrown", "Network.loadingFailed")
    assert [about for name, about in browser.events if name in bad] == []


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[Path]:
    """20 parts of two photographs, larger than the network's 8 x 8, as PNG files."""
    folder, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for number in range(20):
        image = load_sample_images().images[number % 2]
        height, width = random.integers(20, 240, 2)
        top, left = random.integers(0, 180), random.integers(0, 390)
        Image.fromarray(image[top : top + height, left : left + width]).save(folder / f"{number:02d}.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def expected(page_alone, labelling):
    """Returns the probabilities of a file, as onnxruntime has them in Python."""
    session = onnxruntime.InferenceSession(page_alone[0] / "model.onnx")
    mean, std = np.float32(labelling.mean), np.float32(labelling.std)

    def probabilities(file: Path) -> np.ndarray:
        pixels = fit(tf.constant(read_image(file, 3)), 8, 8).numpy()
        image = (pixels.astype(np.float32) / np.float32(255) - mean) / std
        return session.run(["probabilities"], {"image": image[None]})[0][0]

    return probabilities


CLASSIFY = """(async () => {
  const found = [];
  for (const file of globalThis.given) {
    const { label, probabilities, milliseconds } = await classify(file);
    found.push([file.name, label, Array.from(probabilities), milliseconds]);
  }
  return found;
})()"""


def classified(page, files: list[Path]) -> list[list]:
    """Returns what `classify` says of files: name, label, probabilities, milliseconds."""
    page.run("""(() => {
      const input = Object.assign(document.createElement("input"), { type: "file", multiple: true, id: "given" });
      input.onchange = () => { globalThis.given = [...input.files]; input.remove(); };
      document.body.append(input);
    })()""")
    page.choose("#given", *files)
    page.wait(f"globalThis.given?.length === {len(files)}")
    return page.run(CLASSIFY)


def test_twenty_photographs_are_classified_as_onnxruntime_does(page, photos, expected, labelling):
    found = classified(page, photos)
    assert [name for name, *_ in found] == [path.name for path in photos]
    wanted = np.stack([expected(path) for path in photos])
    np.testing.assert_allclose([row[2] for row in found], wanted, atol=1e-5)
    assert [row[1] for row in found] == [labelling.class_names[k] for k in wanted.argmax(-1)]
    assert len(set(wanted.argmax(-1))) > 2
    assert all(0 <= row[3] < 1000 for row in found)


def test_a_photograph_of_a_camera_is_turned_and_transparency_is_white(page, expected, tmp_path):
    image = Image.fromarray(load_sample_images().images[0][:200, :300])
    notes = Image.Exif()
    notes[0x0112] = 6
    image.save(tmp_path / "turned.jpg", quality=95, exif=notes)
    alpha = Image.fromarray(np.uint8(np.indices((200, 300)).sum(0) % 2 * 255))
    clear = image.copy()
    clear.putalpha(alpha)
    clear.save(tmp_path / "clear.png")
    files = [tmp_path / "turned.jpg", tmp_path / "clear.png"]
    found = classified(page, files)
    for row, file in zip(found, files, strict=True):
        np.testing.assert_allclose(row[2], expected(file), atol=0.02)
    upright = np.abs(expected(files[0]) - found[0][2]).max()
    image.save(tmp_path / "lying.png")
    assert np.abs(expected(tmp_path / "lying.png") - found[0][2]).max() > upright


RESULTS = """[...document.querySelectorAll("#results > li")].map((item) => ({
  title: item.querySelector("h2").textContent, line: item.querySelector(".origin").textContent,
  alt: item.querySelector("img").alt, saw: item.querySelector("canvas").ariaLabel,
  bars: [...item.querySelectorAll(".bars li")].map((bar) => [bar.querySelector(".name").textContent,
    parseFloat(bar.textContent.slice(bar.querySelector(".name").textContent.length)),
    bar.querySelector(".length").offsetWidth / bar.querySelector(".track").offsetWidth]),
}))"""


def test_chosen_files_are_shown_and_what_is_no_picture_is_told(page, photos, expected, labelling, tmp_path):
    (tmp_path / "notes.png").write_text("no picture")
    page.choose("#files", photos[0], tmp_path / "notes.png", photos[1])
    page.wait("document.querySelectorAll('#results > li').length === 2")
    page.wait("!document.querySelector('#problem').hidden")
    problem = page.run("document.querySelector('#problem').textContent")
    assert problem == "notes.png: it is no picture that this browser can read."
    newest, oldest = page.run(RESULTS)
    for shown, file in ((newest, photos[1]), (oldest, photos[0])):
        wanted = expected(file)
        ranked = np.argsort(-wanted, kind="stable")
        assert shown["title"] == labelling.class_names[ranked[0]]
        assert shown["line"].startswith(f"{file.name} · ")
        assert shown["line"].endswith(" ms")
        assert shown["alt"] == file.name
        assert "8 \N{MULTIPLICATION SIGN} 8 pixels" in shown["saw"]
        assert [name for name, *_ in shown["bars"]] == [labelling.class_names[k] for k in ranked]
        np.testing.assert_allclose([share for _, share, _ in shown["bars"]], 100 * wanted[ranked], atol=0.051)
        np.testing.assert_allclose([length for *_, length in shown["bars"]], wanted[ranked], atol=0.01)
    status = page.run("document.querySelector('#status').textContent")
    assert status.startswith(f"{photos[1].name}: {newest['title']}, ")
    page.run("document.querySelector('#clear').click()")
    assert page.run(RESULTS) == []
    assert page.run("document.activeElement.id") == "files"


def test_pictures_can_be_dropped_and_pasted(page, photos):
    drag = {"items": [], "files": [str(photos[0]), str(photos[1])], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver"):
        page.ask("Input.dispatchDragEvent", type=kind, x=300, y=300, data=drag)
    page.wait("document.body.classList.contains('over')")
    page.ask("Input.dispatchDragEvent", type="drop", x=300, y=300, data=drag)
    page.wait("document.querySelectorAll('#results > li').length === 2")
    assert not page.run("document.body.classList.contains('over')")
    page.run("""document.querySelector("#results canvas").toBlob((blob) => {
      const clipboardData = new DataTransfer();
      clipboardData.items.add(new File([blob], "pasted.png", { type: "image/png" }));
      dispatchEvent(new ClipboardEvent("paste", { clipboardData }));
    })""")
    page.wait("document.querySelectorAll('#results > li').length === 3")
    assert page.run(RESULTS)[0]["alt"] == "pasted.png"
    page.run("dispatchEvent(new ClipboardEvent('paste', { clipboardData: new DataTransfer() }))")
    assert page.run("document.querySelector('#problem').textContent") == "There was no picture in it."


def test_everything_can_be_reached_and_done_by_keys_and_the_focus_is_seen(page, server):
    page.ask("Browser.setPermission", permission={"name": "camera"}, setting="granted", origin=server)
    reached = []
    for _ in range(3):
        page.press("Tab")
        reached.append(
            page.run("""(() => {
              const it = document.activeElement, seen = getComputedStyle(it.closest("label") ?? it);
              return [it.id || it.tagName, seen.outlineStyle, parseFloat(seen.outlineWidth)];
            })()""")
        )
    assert reached == [["files", "solid", 3], ["camera", "solid", 3], ["A", "solid", 3]]
    page.run("document.querySelector('#camera').focus()")
    page.press("Enter")
    page.wait("document.activeElement.id === 'shoot' && document.querySelector('#video').videoWidth > 0")
    page.press(" ")
    page.wait("document.querySelectorAll('#results > li').length === 1")
    assert page.run(RESULTS)[0]["alt"] == "camera 1"
    page.run("globalThis.track = document.querySelector('#video').srcObject.getTracks()[0]")
    page.press("Tab")
    page.press("Enter")
    page.wait("document.querySelector('#viewfinder').hidden && document.activeElement.id === 'camera'")
    assert page.run("track.readyState") == "ended", "the light of the camera is off"


def test_a_camera_that_is_refused_is_told_in_a_line(page, server):
    page.ask("Browser.setPermission", permission={"name": "camera"}, setting="denied", origin=server)
    page.run("document.querySelector('#camera').click()")
    page.wait("!document.querySelector('#problem').hidden")
    assert page.run("document.querySelector('#problem').textContent").startswith(
        "The camera was refused: allow it"
    )
    assert page.run("document.querySelector('#viewfinder').hidden")


def test_a_network_that_cannot_be_loaded_is_told_in_a_line(browser, server):
    browser.open(f"{server}/broken/")
    browser.wait("!document.querySelector('#problem').hidden")
    told = browser.run("document.querySelector('#problem').textContent")
    assert told == "The network could not be loaded: onnxruntime-web.wasm cannot be loaded (404)."
    assert browser.run(
        "document.querySelector('#files').disabled && document.querySelector('#camera').disabled"
    )


# Pairs of colours of text and what is behind it, as WCAG 2.2 counts their contrast.
CONTRASTS = """(() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => channels(colour).slice(0, 3).map((value) => value / 255).map((value) =>
    value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4).reduce((sum, value, i) =>
    sum + value * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (it) => {
    for (; it; it = it.parentElement) {
      const colour = getComputedStyle(it).backgroundColor;
      if (channels(colour)[3] !== 0) return colour;
    }
  };
  return [...document.querySelectorAll("body *")].filter((it) => it.offsetParent && [...it.childNodes].some((node) =>
    node.nodeType === 3 && node.textContent.trim())).map((it) => {
      const [dark, bright] = [light(getComputedStyle(it).color), light(behind(it))].sort((a, b) => a - b);
      return [it.outerHTML.slice(0, 60), (bright + 0.05) / (dark + 0.05)];
  });
})()"""


@pytest.mark.parametrize("dark", [False, True])
def test_texts_can_be_read_light_and_dark_and_a_telephone_is_wide_enough(
    dark, browser, server, photos, tmp_path
):
    browser.look(width=320, dark=dark)
    browser.open(f"{server}/names/")
    browser.wait("document.querySelector('#status').textContent.startsWith('Ready')")
    assert "4095 is white" in browser.run("document.querySelector('#about').textContent")
    long = tmp_path / f"{'a_long_name_of_a_file_' * 8}.png"
    long.write_bytes(photos[0].read_bytes())
    (tmp_path / "bad.png").write_bytes(b"bad")
    browser.choose("#files", long, tmp_path / "bad.png", photos[2])
    browser.wait("document.querySelectorAll('#results > li').length === 2")
    browser.wait("!document.querySelector('#problem').hidden")
    shown = browser.run(RESULTS)
    assert sorted(name for name, *_ in shown[0]["bars"]) == sorted(NAMES), "names are texts, not HTML"
    contrasts = browser.run(CONTRASTS)
    assert len(contrasts) > 20
    assert min(ratio for _, ratio in contrasts) >= 4.5, contrasts
    ground = browser.run("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(20, 24, 28)" if dark else "rgb(255, 255, 255)")
    for width in (320, 390, 1000):
        browser.look(width=width, dark=dark)
        assert browser.run("innerWidth") == width
        wide = "[...document.querySelectorAll('body *')].filter((it) => it.getBoundingClientRect().right > innerWidth)"
        assert browser.run(f"{wide}.map((it) => it.outerHTML.slice(0, 60))") == []
        assert browser.run("document.documentElement.scrollWidth") <= width
        heights = browser.run(
            "[...document.querySelectorAll('button, .button')].map((it) => it.offsetHeight)"
        )
        assert min(filter(None, heights)) >= 24, "large enough for a finger, as WCAG counts it"
