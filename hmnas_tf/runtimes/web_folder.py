"""Pages: their own scripts and onnxruntime-web as they lie in the folder, in Node.js; without it their ONNX file."""

import contextlib
import json
import shutil
import struct
import subprocess
import tempfile
import weakref
from pathlib import Path

import numpy as np

from hmnas_tf.runtimes.pictures import framed

LABELLING = "labelling.json"
MODEL = "model.onnx"
PICTURES = "pictures:logits"  # what `examine` finds
SCRIPT = Path(__file__).with_suffix(".mjs")
RUN, CLASSIFY = 0, 1  # what Node.js is asked for


class Artifact:
    """A folder with a page.

    Args:
        path: of the folder.

    Attributes:
        labelling: JSON text, as the page's script has read it.
    """

    def __init__(self, path):
        node = shutil.which("node")
        self._node = _Node(node, path) if node else None
        if self._node:
            facts = json.loads(self._node.answer())
            self.labelling, self._runtime = json.dumps(facts["labelling"]), facts["runtime"]
        else:
            from hmnas_tf.runtimes import onnx_file  # an extra

            self._network = onnx_file.load(str(Path(path, MODEL)))
            self.labelling = Path(path, LABELLING).read_text(encoding="utf-8")
            version = onnx_file.onnxruntime.__version__
            self._runtime = f"onnxruntime {version} in Python, the network alone: there is no Node.js"

    def predict(self, images):
        """Returns logits float32 [B, classes] of normalised images float32 [B, H, W, C]."""
        if not self._node:
            return self._network.predict(images)
        return np.stack([self._node.ask(RUN, image) for image in images])

    def examine(self, pixels):
        """Shows uint8 images [B, H, W, C] to the page's script as the pictures that a browser would make of them."""
        found = {"checked_with": self._runtime}
        if self._node:
            pixels = framed(pixels, self.labelling)
            rgb = np.broadcast_to(pixels, (*pixels.shape[:3], 3)) if pixels.shape[-1] == 1 else pixels
            opaque = np.full((*rgb.shape[:3], 1), 255, np.uint8)
            pictures = np.concatenate([rgb, opaque], axis=-1)  # [B, H, W, 4]
            found[PICTURES] = np.stack([self._node.ask(CLASSIFY, picture) for picture in pictures])
        return found


class _Node:
    """A process of Node.js that runs a page's script; see the file of JavaScript beside this one."""

    def __init__(self, node, path):
        # A file that ends with the process, since a pipe that nobody reads would fill up.
        errors = self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        process = self._process = subprocess.Popen(
            [node, str(SCRIPT), str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        )
        weakref.finalize(self, _end, process, errors)

    def ask(self, question, array):
        """Returns the logits, float32 [classes], of an array [height, width, channels]."""
        content = np.ascontiguousarray(array)
        try:
            self._process.stdin.write(struct.pack("<4I", question, *content.shape) + content.tobytes())
            self._process.stdin.flush()
        except BrokenPipeError:
            self._fail()
        return np.frombuffer(self.answer(), np.float32)

    def answer(self):
        """Returns the bytes of an answer."""
        (length,) = struct.unpack("<I", self._read(4))
        return self._read(length)

    def _read(self, length):
        content = self._process.stdout.read(length)
        if len(content) < length:
            self._fail()
        return content

    def _fail(self):
        self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").splitlines()
        reasons = [line for line in lines if line.strip()] or [f"exit code {self._process.returncode}"]
        raise RuntimeError(reasons[-1])


def _end(process, errors):
    with contextlib.suppress(BrokenPipeError):  # of what a process that failed has not read
        process.stdin.close()  # at which it ends
    process.wait()
    process.stdout.close()
    errors.close()


load = Artifact
