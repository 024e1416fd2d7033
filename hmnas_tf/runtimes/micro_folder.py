"""Folders for microcontrollers, in the interpreter of TensorFlow Lite for Microcontrollers."""

import json
import pathlib

import numpy as np

from hmnas_tf.runtimes import litert_file, micro_interpreter
from hmnas_tf.runtimes.micro_files import FACTS, MODEL, SOURCE, quantised, require_same, require_source

COMPARED = 1000  # images, at most, that LiteRT is shown too


class Artifact:
    """A folder with a model of 8 bits from end to end, the same as C, and what one must know of it.

    Attributes:
        labelling: JSON text of the facts.

    Raises:
        ValueError: if its files contradict each other, or an operator is not known.
        MemoryError: if the arena that is told is too small.
    """

    def __init__(self, path):
        folder = pathlib.Path(path)
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        self.labelling = json.dumps(facts["labelling"])
        self._path = folder / MODEL
        content = self._path.read_bytes()
        self._interpreter = micro_interpreter.interpreter(content, facts["arena_bytes"])
        self._input, self._output = facts["input"], facts["output"]
        _require_facts(facts, content, self._interpreter)
        require_source((folder / SOURCE).read_text(encoding="utf-8"), facts, content)
        self._shown, self._answers = [], []

    def predict(self, images):
        """Returns logits float32 [B, classes] of normalised images float32 [B, H, W, C]."""
        if list(images.shape[1:]) != self._input["shape"][1:]:
            raise ValueError(
                f"expected images of shape {self._input['shape'][1:]}, received {images.shape[1:]}"
            )
        given = quantised(images, self._input["scale"], self._input["zero_point"])
        found = np.stack([self._run(image) for image in given])
        room = COMPARED - len(self._shown)
        self._shown += list(given[:room])
        self._answers += list(found[:room])
        return (found.astype(np.float32) - self._output["zero_point"]) * np.float32(self._output["scale"])

    def examine(self, pixels):
        """Shows LiteRT's kernels of reference what has been predicted; returns both answers, int8 [N, classes]."""
        other = litert_file.interpreter(self._path, threads=0, reference=True)
        other.allocate_tensors()
        given, made = (
            details[0]["index"] for details in (other.get_input_details(), other.get_output_details())
        )
        answers = []
        for image in self._shown:
            other.set_tensor(given, image[None])
            other.invoke()
            answers.append(other.get_tensor(made)[0])
        return {"micro": np.stack(self._answers), "litert": np.stack(answers)}

    def _run(self, image):
        self._interpreter.set_input(image[None], 0)
        self._interpreter.invoke()
        return self._interpreter.get_output(0)[0]


def _require_facts(facts, content, interpreter):
    """Refuses facts that are not those of the model."""
    held = {(operator["name"], operator["version"]): operator["count"] for operator in facts["operators"]}
    require_same(f"operators in {FACTS}", micro_interpreter.operators_of(content), held)
    require_same(f"flash_bytes in {FACTS}", len(content), facts["flash_bytes"])
    ends = {"input": interpreter.get_input_details(0), "output": interpreter.get_output_details(0)}
    for name, details in ends.items():
        own, parameters = facts[name], details["quantization_parameters"]
        require_same(f"shape of the {name}", list(map(int, details["shape"])), own["shape"])
        require_same(f"type of the {name}", np.dtype(details["dtype"]).name, own["type"])
        require_same(f"zero point of the {name}", int(parameters["zero_points"][0]), own["zero_point"])
        scale = float(parameters["scales"][0])
        require_same(f"scale of the {name}", scale, float(np.float32(own["scale"])))


load = Artifact
