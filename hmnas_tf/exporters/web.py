"""A page that classifies pictures in a browser: static files, no server but one that hands them out, no network.

The page lies in `hmnas_tf/exporters/page`; onnxruntime comes from npm, see `npm_package`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hmnas_tf.exporters import contract, npm_package, onnx_model, parity
from hmnas_tf.exporters.contract import Cargo, Labelling
from hmnas_tf.runtimes.__main__ import EXAMINED
from hmnas_tf.runtimes.web_folder import LABELLING, MODEL, PICTURES
from hmnas_tf.storage import atomic

PAGE = Path(__file__).parent / "page"
LICENCE = "onnxruntime-web.LICENSE.txt"  # the package has none in it, but says that it is this one
FILES = ("index.html", "style.css", "page.js", "classifier.js", "pixels.js", "package.json", LICENCE)
# Of the package: without WebGL, WebGPU and threads. Not all servers know what .mjs is.
RUNTIME = {
    "dist/ort.wasm.bundle.min.mjs": "onnxruntime-web.js",
    "dist/ort-wasm-simd-threaded.wasm": "onnxruntime-web.wasm",
}
READABLE = (1, 3)  # numbers of channels that the page makes of a picture


def missing() -> list[str]:
    """Returns what stands in the way of a page as one-line messages; [] when nothing."""
    return onnx_model.missing_packages() + npm_package.missing_package()


def require_pictures(labelling: Labelling) -> None:
    """Refuses a network that no picture can be shown to.

    Raises:
        ValueError: naming its channels.
    """
    channels = labelling.image_shape[-1]
    if channels not in READABLE:
        raise ValueError(
            f"formats=web: expected images of 1 or 3 channels, which a browser makes of pictures, received {channels}: "
            "leave web out."
        )


def export_web(cargo: Cargo, path: Path, check: contract.Check) -> Path:
    """Writes the folder of a page: its own files, onnxruntime, the network for batches of 1, and the labelling.

    Args:
        cargo: what to write.
        path: the folder; one that exists is replaced.
        check: called with the finished folder before it gets its place.

    Returns:
        `path`.

    Raises:
        ImportError: when a package is missing.
        ValueError: if the network takes no pictures.
        ArtifactError: from `check`; `path` is then unchanged.
    """
    require_pictures(cargo.labelling)
    with atomic.replacing_folder(path) as folder:
        for name in FILES:
            (folder / name).write_bytes((PAGE / name).read_bytes())
        for name, content in npm_package.members(RUNTIME).items():
            (folder / RUNTIME[name]).write_bytes(content)
        (folder / LABELLING).write_text(cargo.labelling.to_json(), encoding="utf-8")
        (folder / MODEL).write_bytes(onnx_model.serialised(cargo, batch=1))
        check(folder)
    return path


def compare(found: Mapping[str, np.ndarray], expected: np.ndarray, labelling: Labelling) -> None:
    """Compares what the page makes of test images that it is given as pictures with what the model makes of them.

    Args:
        found: of `runtimes.web_folder`.
        expected: the model's logits [N, classes] of all test images, the first of which were shown.
        labelling: is not needed, the page has told its own.

    Raises:
        ArtifactError: if it makes something else of them.
    """
    if PICTURES in found:  # there is no Node.js otherwise
        parity.require_equal_logits("web: pictures", expected[:EXAMINED], found[PICTURES])
