"""The folder of a page: whole and right, or not published."""

from __future__ import annotations

import json
import re
import shutil
import stat

import onnx
import pytest

from hmnas_tf.exporters import artifacts, npm_package, parity, web
from hmnas_tf.exporters.contract import Labelling
from hmnas_tf.exporters.formats import EXPORTERS
from hmnas_tf.runtimes import web_folder

pytestmark = pytest.mark.slow


@pytest.fixture
def needed(unavailable) -> None:
    if "web" in unavailable:
        pytest.skip(unavailable["web"])


@pytest.fixture
def folder(page_alone):
    return page_alone[0]


def test_the_folder_has_all_that_a_page_needs_and_its_licence(folder, labelling):
    own = {*web.FILES, *web.RUNTIME.values(), "labelling.json", "model.onnx"}
    assert {path.name for path in folder.iterdir()} == own
    assert {path.name for path in web.PAGE.iterdir()} == set(web.FILES)
    assert json.loads((folder / "labelling.json").read_text()) == json.loads(labelling.to_json())
    assert "MIT License" in (folder / "onnxruntime-web.LICENSE.txt").read_text(encoding="utf-8")
    assert stat.S_IMODE(folder.stat().st_mode) & 0o055 == 0o055, "a server of another user can read it"
    (image,) = onnx.load(folder / "model.onnx").graph.input
    assert [size.dim_value for size in image.type.tensor_type.shape.dim] == [1, 8, 8, 3]


def test_nothing_is_loaded_from_elsewhere_and_no_script_stands_in_the_page(folder):
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\son\w+=|javascript:|\sstyle=|<script(?![^>]* src=)", page)
    for name in (*web.FILES, "labelling.json"):
        text = (folder / name).read_text(encoding="utf-8")
        assert not re.search(r"(https?|wss?):?//|\beval\(|\bFunction\(|innerHTML", text), name
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["script-src"] == "'self' 'wasm-unsafe-eval'"
    assert rules["connect-src"] == rules["style-src"] == "'self'"
    named = set(re.findall(r'(?:src|href)="([^"]*)"', page)) - {"data:,"}
    named |= {
        name[2:] for path in web.FILES for name in re.findall(r'from "(.*?)"', (folder / path).read_text())
    }
    assert named < {path.name for path in folder.iterdir()}


def test_it_was_run_by_what_will_run_it(page_alone):
    _, result, _ = page_alone
    assert re.fullmatch(
        rf"onnxruntime-web {re.escape(npm_package.VERSION)} in Node.js [\d.]+", result["checked_with"]
    )


def test_pictures_lose_the_border_that_training_images_had(folder, pixels, logits, tmp_path):
    shutil.copytree(folder, tmp_path / "page")
    facts = json.loads((folder / "labelling.json").read_text())
    (tmp_path / "page/labelling.json").write_text(json.dumps(facts | {"resized": 11}))
    found = web_folder.load(str(tmp_path / "page")).examine(pixels[:4])
    parity.require_equal_logits("page", logits[:4], found[web_folder.PICTURES])


def remove_the_runtime(folder):
    (folder / "onnxruntime-web.wasm").unlink()


def cut_the_runtime(folder):
    path = folder / "onnxruntime-web.wasm"
    path.write_bytes(path.read_bytes()[:-1000])


def flip_a_bit_of_the_model(folder):
    """The highest bit of an exponent: of a weight of order 1."""
    model = onnx.load(folder / "model.onnx")
    weights = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    content = bytearray(weights.raw_data)
    content[3] ^= 1 << 6
    weights.raw_data = bytes(content)
    onnx.save(model, folder / "model.onnx")


def swap_labels(folder):
    facts = json.loads((folder / "labelling.json").read_text())
    facts["class_names"][:2] = reversed(facts["class_names"][:2])
    (folder / "labelling.json").write_text(json.dumps(facts))


def forget_a_label(folder):
    facts = json.loads((folder / "labelling.json").read_text())
    del facts["class_names"][-1]
    (folder / "labelling.json").write_text(json.dumps(facts))


def remove_a_script(folder):
    (folder / "pixels.js").unlink()


def forget_the_mean(folder):
    """Only pictures go through it: normalised images are what the network is given first."""
    path = folder / "pixels.js"
    path.write_text(path.read_text().replace(" - means[c]", ""))


DAMAGE = {
    remove_the_runtime: "cannot be run: .*onnxruntime-web.wasm",
    cut_the_runtime: "cannot be run: .*(?i:wasm|webassembly)",
    flip_a_bit_of_the_model: "expected .* logits.*; not published",
    swap_labels: "expected the labelling of this run, received another class_names; not published",
    forget_a_label: "cannot be run: .*expected a logit for each of 4 classes, received 5",
    remove_a_script: "cannot be run: .*pixels.js",
    forget_the_mean: "pictures: expected the model's logits",
}


@pytest.fixture(scope="module")
def padded(network):
    """Converted once."""
    return network.cargo("padded")


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_page_is_not_published_and_the_old_one_stays(
    damage, needed, padded, labelling, pixels, labels, logits, tmp_path
):
    old = tmp_path / "model/web"
    old.mkdir(parents=True)
    (old / "index.html").write_text("old")
    with artifacts.stored(pixels) as stored:

        def check(folder):
            damage(folder)
            artifacts.measure("web", folder, labelling, stored, labels, logits)

        with pytest.raises(parity.ArtifactError, match=f"^web: .*{DAMAGE[damage]}"):
            web.export_web(padded, old, check)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == [
        "model",
        "model/web",
        "model/web/index.html",
    ]


def test_a_page_replaces_the_one_before(needed, padded, tmp_path):
    (tmp_path / "web").mkdir()
    (tmp_path / "web/old.html").write_text("old")
    seen = []
    web.export_web(padded, tmp_path / "web", lambda folder: seen.append(sorted(folder.iterdir())))
    assert [path.name for path in seen[0]] == sorted(path.name for path in (tmp_path / "web").iterdir())
    assert not (tmp_path / "web/old.html").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["web"]


def test_it_is_said_how_to_look_at_it(page_alone):
    folder, _, said = page_alone
    assert f"web: look at it with python -m http.server --directory {folder}" in said
    assert sum(line.startswith("web: checked with onnxruntime-web ") for line in said) == 1


def test_without_node_it_is_checked_in_python_and_that_is_said(folder, labelling, pixels, labels, logits):
    with pytest.MonkeyPatch.context() as patch, artifacts.stored(pixels) as stored:
        patch.setenv("PATH", "/nowhere")
        assert shutil.which("node") is None
        result = artifacts.measure("web", folder, labelling, stored, labels, logits)
    assert "in Python, the network alone: there is no Node.js" in result["checked_with"]
    assert result["relative_difference"] <= parity.TOLERANCE


def test_images_that_no_picture_can_be_are_refused():
    deep = Labelling(("a", "b"), (0.5,) * 5, (1.0,) * 5, (8, 8, 5))
    with pytest.raises(
        ValueError, match="^formats=web: expected images of 1 or 3 channels, .*, received 5: leave"
    ):
        web.require_pictures(deep)
    assert EXPORTERS["web"].suits is web.require_pictures
    for channels in web.READABLE:
        web.require_pictures(Labelling(("a", "b"), (0.5,) * channels, (1.0,) * channels, (8, 8, channels)))


def test_the_pinned_package_is_a_version_and_a_digest():
    assert re.fullmatch(r"\d+\.\d+\.\d+", npm_package.VERSION)
    assert re.fullmatch(r"[A-Za-z0-9+/]{86}==", npm_package.INTEGRITY)
