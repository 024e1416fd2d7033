"""What a network makes of the test images: which classes it confuses, and where it is sure and wrong."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Iterable

import numpy as np
from PIL import Image

from hmnas_tf.scoring.scores import Counts, likeliest

THUMBNAIL = 96  # pixels a side, at most, of an image in the page


@dataclasses.dataclass(frozen=True, eq=False)
class Judgement:
    """Test images and what a network takes them for.

    Attributes:
        images: uint8 [N, H, W, C].
        labels: their classes, integers [N].
        predicted: the likeliest class of each, integers [N].
        probabilities: of the likeliest class, [N].
        classes: number of classes.
    """

    images: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray
    classes: int

    @classmethod
    def of(
        cls, images: np.ndarray, labels: np.ndarray, logits: Iterable[np.ndarray], classes: int
    ) -> Judgement:
        """Returns what logits say of images.

        Args:
            images: uint8 [N, H, W, C].
            labels: integers [N].
            logits: of the images in their order, in parts [n, classes]; only the likeliest class is kept.
            classes: their number.
        """
        predicted, probabilities = zip(*map(likeliest, logits), strict=True)
        return cls(images, labels, np.concatenate(predicted), np.concatenate(probabilities), classes)

    def counts(self) -> Counts:
        """Returns what is counted of the predictions."""
        return Counts.of(self.labels, self.predicted, self.probabilities, self.classes)

    def confusion(self) -> np.ndarray:
        """Returns how many images of each class are taken for each class: integers [true, predicted]."""
        return self.counts().confusion

    def mistakes(self, most: int) -> np.ndarray:
        """Returns the indices of at most so many wrong images, the surest first."""
        wrong = np.flatnonzero(self.predicted != self.labels)
        return wrong[np.argsort(-self.probabilities[wrong], kind="stable")][:most]

    def wrong(self) -> int:
        """Returns the number of images that are taken for another class than theirs."""
        return int(np.count_nonzero(self.predicted != self.labels))


def thumbnail(image: np.ndarray) -> str:
    """Returns an image as a data URI of a PNG no larger than `THUMBNAIL` pixels a side.

    Args:
        image: uint8 [H, W, C]; three channels are shown in colour, of any other number the first one in grey.
    """
    shown = Image.fromarray(image if image.shape[2] == 3 else np.ascontiguousarray(image[..., 0]))
    shown.thumbnail((THUMBNAIL, THUMBNAIL))
    data = io.BytesIO()
    shown.save(data, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode('ascii')}"
