"""What every exporter is given: a stock Keras model from `image` to logits, and the facts that travel with it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import keras
import numpy as np

from hmnas_tf.data import ImageDataset
from hmnas_tf.data.class_names import check_names
from hmnas_tf.data.image_files import FULL

INPUT_NAME = "image"
OUTPUT_NAME = "logits"
PROBABILITIES_NAME = "probabilities"

T = TypeVar("T")
Check = Callable[[Path], None]  # given the artifact under its temporary name; raises to stop its publication


@dataclasses.dataclass(frozen=True)
class Labelling:
    """What a user of an artifact must know and the weights do not say; written into every artifact.

    The input of every artifact is `(pixels / 255 - mean) / std` with channels last, where pixels are 0..255.

    Attributes:
        class_names: one name a class, in the order of the logits.
        mean: one number a channel, of pixel values scaled to [0, 1].
        std: one number a channel, of pixel values scaled to [0, 1].
        image_shape: (height, width, channels) in pixels.
        white: what became pixel value 255 in files with more than 8 bits; told only where it is not what 16 bits hold.
        resized: side that the central square of a picture is resized to before the middle, image_shape, is cut out of
            it; told only where it is not 0, which cuts nothing.

    Raises:
        ValueError: when the shape is not three positive numbers, mean and std are not one finite number a channel, or
            `check_names` refuses a class name.
    """

    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_shape: tuple[int, int, int]
    white: int = FULL
    resized: int = 0

    def __post_init__(self) -> None:
        # Plain Python values, whatever came in (lists, NumPy scalars): they are written as JSON.
        for field, kind in (("class_names", str), ("mean", float), ("std", float), ("image_shape", int)):
            object.__setattr__(self, field, tuple(kind(value) for value in getattr(self, field)))
        if len(self.image_shape) != 3 or min(self.image_shape) < 1:
            raise ValueError(
                f"image_shape: expected (height, width, channels) >= 1, received {self.image_shape}"
            )
        for field in ("mean", "std"):
            values = getattr(self, field)
            if len(values) != self.image_shape[-1] or not all(map(math.isfinite, values)):
                expected = f"one finite number for each of {self.image_shape[-1]} channels"
                raise ValueError(f"{field}: expected {expected}, received {values}")
        if min(self.std) <= 0:
            raise ValueError(f"std: expected numbers above 0, received {self.std}")
        check_names(self.class_names, "class_names")

    def to_strings(self) -> dict[str, str]:
        """Returns the labelling as strings only, the sole type that ONNX metadata has; lists are JSON."""
        colour = {1: "gray", 3: "RGB"}.get(self.image_shape[-1], "unknown")
        return {
            "class_names": json.dumps(self.class_names),
            "mean": json.dumps(self.mean),
            "std": json.dumps(self.std),
            "image_shape": json.dumps(self.image_shape),
            "layout": "NHWC",
            "colour": colour,
            "normalisation": "(pixels / 255 - mean) / std",
            **({"white": str(self.white)} if self.white != FULL else {}),
            **({"resized": str(self.resized)} if self.resized else {}),
        }

    def to_json(self) -> str:
        """Returns the labelling as the JSON text that is put beside the weights in `.keras` and SavedModel."""
        facts = dataclasses.asdict(self)
        if self.white == FULL:
            del facts["white"]
        if not self.resized:
            del facts["resized"]
        return json.dumps(facts, indent=2) + "\n"


def labelling_of(dataset: ImageDataset) -> Labelling:
    """Returns what a data set's networks must tell their users; asked before training, it refuses what would be refused
    when they are exported.

    Raises:
        ValueError: see `Labelling`.
    """
    facts = (dataset.class_names, dataset.mean, dataset.std, dataset.image_shape)
    return Labelling(*facts, dataset.white, dataset.resized)


@dataclasses.dataclass(frozen=True)
class Cargo:
    """What an exporter writes.

    Attributes:
        model: stock layers, float32; input `image` [None, H, W, C], output logits [None, classes].
        labelling: what its users must know.
        genotype: JSON text of the architecture.
        calibration: uint8 [N, H, W, C], training images whose activations give int8 its ranges.

    Raises:
        ValueError: when the model cannot be exported faithfully, see `require_exportable`.
    """

    model: keras.Model
    labelling: Labelling
    genotype: str
    calibration: np.ndarray
    _made: dict[Callable, Any] = dataclasses.field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        require_exportable(self.model, self.labelling)

    def once(self, make: Callable[[Cargo], T]) -> T:
        """Returns `make(self)`, made once for all exporters that need it: tracing and converting take seconds each."""
        if make not in self._made:
            self._made[make] = make(self)
        return self._made[make]


def require_exportable(model: keras.Model, labelling: Labelling) -> None:
    """Refuses a model that an exporter would turn into a wrong or unloadable artifact, before anything is written.

    The formats fail late and unclearly: NaN is exported without complaint, a bfloat16 model passes ONNX's checker
    and is refused by the runtime, and a `.keras` file with a custom layer loads only where that layer was imported.

    Args:
        model: input `image` float32 [None, H, W, C], output logits [None, classes].
        labelling: checked against the model.

    Raises:
        ValueError: naming what was expected, what was received and the remedy.
    """
    _require_signature(model, labelling)
    for layer in _layers(model):
        kind = type(layer)
        if not kind.__module__.startswith("keras.") or isinstance(layer, keras.layers.Lambda):
            received = f"layer {layer.name!r} of {kind.__module__}.{kind.__name__}"
            raise ValueError(
                f"expected stock Keras layers only, received {received}; fold the derived network first"
            )
        if layer.compute_dtype != "float32":
            raise ValueError(
                f"expected a float32 model, received layer {layer.name!r} computing in {layer.compute_dtype}; "
                "build it again under the float32 policy and copy the weights with set_weights"
            )
    for variable in model.weights:
        if not np.isfinite(variable.numpy()).all():
            raise ValueError(
                f"expected finite weights, received NaN or infinity in {variable.path!r}; the training diverged"
            )


def _require_signature(model: keras.Model, labelling: Labelling) -> None:
    inputs, outputs = getattr(model, "inputs", None) or (), getattr(model, "outputs", None) or ()
    received = [(tensor.name, tuple(tensor.shape), tensor.dtype) for tensor in inputs]
    fixed = len(received) == 1 and received[0][0] == INPUT_NAME and received[0][2] == "float32"
    if not (fixed and len(received[0][1]) == 4 and None not in received[0][1][1:]):
        raise ValueError(
            f"expected one input {INPUT_NAME!r} float32 (None, height, width, channels), received {received}; "
            "build the model from keras.Input(shape, name='image')"
        )
    shapes = [tuple(tensor.shape) for tensor in outputs]
    if len(shapes) != 1 or len(shapes[0]) != 2 or shapes[0][1] is None:
        raise ValueError(f"expected one output of logits (None, classes), received {shapes}")
    if received[0][1][1:] != labelling.image_shape:
        raise ValueError(
            f"image_shape: expected {received[0][1][1:]} as the model's input, received {labelling.image_shape}"
        )
    if len(labelling.class_names) != shapes[0][1]:
        raise ValueError(
            f"class_names: expected {shapes[0][1]} names, one for each logit, received {len(labelling.class_names)}"
        )


def _layers(model: keras.Model) -> Iterator[keras.Layer]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _layers(layer)
        else:
            yield layer
