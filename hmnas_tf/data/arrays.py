"""What arrays of a user are taken for images and labels; everything else is refused in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hmnas_tf.data.buffers import empty
from hmnas_tf.data.class_names import listed
from hmnas_tf.data.image_dataset import ImageDataset, content_version
from hmnas_tf.data.image_files import BRIGHT, white_of
from hmnas_tf.data.labels import read_labels
from hmnas_tf.data.memory import COPIES, check_fits
from hmnas_tf.data.resizing import resize_array
from hmnas_tf.data.rows import blocks

KEYS = ("x_train", "y_train", "x_test", "y_test")
AUGMENTATION = ("crop", "flip", "cutout")  # of images that nothing is known of
_ROUNDING = 1e-3  # of the range: floats this little outside are taken for its ends
_DARK = (
    1 / 8
)  # floats in 0..1 have one above this: 10 to 13 bits over 65535 end below, with few grey values left
FEW_CHANNELS = 4  # more of them on the last axis may be a width
LAYOUTS = ("NHWC", "NCHW")


def dataset_of_arrays(
    name: str,
    where: str,
    arrays: Mapping[str, np.ndarray],
    class_names: Sequence[str] | None = None,
    image_size: int = 0,
    layout: str = "",
) -> ImageDataset:
    """Makes a dataset of arrays as users have them.

    Args:
        name: of the dataset.
        where: the arrays are from, to begin a message with.
        arrays: under the names `KEYS`, images as `Pixels` takes them, and labels, [N] or [N, 1], that are whole numbers
            from 0 or strings.
        class_names: in the order of the labels. None names whole numbers by themselves, and takes strings in the order
            of the alphabet.
        image_size: side to resize to, pixels; 0 keeps the size.
        layout: see `Pixels`.

    Returns:
        The dataset; its version is the hash of images, before they are resized, and labels.

    Raises:
        ValueError: one line about what does not fit.
    """
    train, test = Pixels(f"{where}: x_train", layout), Pixels(f"{where}: x_test", layout)
    x_train, x_test = train(arrays["x_train"]), test(arrays["x_test"])
    test.require_scale_of(train)
    names = None if class_names is None else listed(class_names)
    labels = read_labels(arrays["y_train"], arrays["y_test"], names, where)
    y_train, y_test = labels.y_train, labels.y_test
    if image_size:
        given = (x_train.nbytes + x_test.nbytes) / (
            (len(x_train) + len(x_test)) * image_size**2 * x_train.shape[3]
        )
        shape = (image_size, image_size, x_train.shape[3])
        check_fits(name, len(x_train) + len(x_test), shape, copies=round(COPIES + given, 2))
    dataset = ImageDataset(
        name=name,
        version=content_version(x_train, y_train, x_test, y_test),
        x_train=resize_array(x_train, image_size),
        y_train=y_train,
        x_test=resize_array(x_test, image_size),
        y_test=y_test,
        class_names=labels.class_names,
        augmentation=AUGMENTATION,
        notices=labels.notices,
    )
    untrained = sorted(set(y_test.tolist()) - set(y_train.tolist()))
    if untrained:
        raise ValueError(
            f"{where}: y_test has label {untrained[0]}, of which y_train has no image; add some, or remove the class"
        )
    return dataset


class Pixels:
    """Turns the images of one split into uint8, one array of them or batch by batch.

    uint8 stays as it is. Floats are in 0..1 or in 0..255; which of them the first that is not all black decides, for
    the rest too. Anything else could be taken for the wrong thing without anybody noticing, so it is refused.

    Args:
        what: the images are, to begin a message with.
        layout: one of `LAYOUTS`, or "" where nobody has said it; channels that may be first are asked about then.
    """

    def __init__(self, what: str, layout: str = ""):
        if layout not in ("", *LAYOUTS):
            raise ValueError(f"{what}: layout must be one of {', '.join(LAYOUTS)}, got {layout!r}")
        self.what, self.layout = what, layout
        self._highest = 0.0  # of floats
        self._white: float | None = None  # the float that becomes 255

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Returns [N, H, W] or [N, H, W, C] as uint8 [N, H, W, C].

        Raises:
            ValueError: on another shape, kind of number, or range.
        """
        what, layout = self.what, self.layout
        if images.ndim == 3:
            images, layout = images[..., None], "NHWC"  # [N, H, W, 1], wherever channels would be
        if images.ndim != 4:
            raise ValueError(
                f"{what} must be [N, H, W] or [N, H, W, C], got {list(images.shape)}; reshape it"
            )
        if layout == "NCHW":
            images = images.transpose(0, 2, 3, 1)
        elif not layout and _channels_may_be_first(images.shape):
            raise ValueError(
                f"{what} must have the channels last, [N, H, W, C], got {list(images.shape)}, whose first axis looks "
                "like the channels; transpose it by (0, 2, 3, 1), or if they are last, say so by layout='NHWC'"
            )
        if images.dtype == np.uint8:
            return images
        if images.dtype.kind != "f":
            raise ValueError(f"{what} must be uint8 or floats, got {images.dtype}; {_scaling(images)}")
        return self._rounded(images, self._white_of(images))

    def require_scale_of(self, other: Pixels) -> None:
        """Refuses floats in 0..1 beside floats in 0..255, and those that would be nearly black; ask when all are read.

        Raises:
            ValueError: naming both, or the highest value.
        """
        for part in (self, other):
            if part._white == 1 and 0 < max(self._highest, other._highest) <= _DARK:
                raise ValueError(
                    f"{part.what} has floats in 0..1 that end at {part._highest:g} and would be nearly black; divide "
                    "them by what is white, such as x / x_train.max()"
                )
        if self._white and other._white and self._white != other._white:
            raise ValueError(
                f"{self.what} has floats in 0..{self._white:g}, but {other.what} in 0..{other._white:g}; scale "
                "both alike"
            )

    def _white_of(self, images: np.ndarray) -> float:
        if not images.size:
            return 1.0
        low, high = float(images.min()), float(images.max())
        if not np.isfinite([low, high]).all():
            raise ValueError(f"{self.what} has values that are not finite (NaN or infinity); clean it")
        if low < -_ROUNDING or high > 255 * (1 + _ROUNDING):
            raise self._refusal(low, high)
        self._highest = max(self._highest, high)
        if high > 1 + _ROUNDING and self._white != 255:
            if self._white or high <= BRIGHT:
                raise self._refusal(low, high)
            self._white = 255.0
        elif high > 0 and not self._white:
            self._white = 1.0
        return self._white or 1.0

    def _refusal(self, low: float, high: float) -> ValueError:
        expected = (
            "0..1, as those before" if self._white == 1 else f"0..1, or in 0..255 with some above {BRIGHT}"
        )
        return ValueError(
            f"{self.what}: floats must lie in {expected}, got {low:g}..{high:g}; undo a normalisation, scale all "
            "alike, or give uint8"
        )

    def _rounded(self, images: np.ndarray, white: float) -> np.ndarray:
        rounded, start = empty(images.shape), 0
        for block in blocks(images):
            chunk = block.astype(np.float32, copy=False)
            rounded[start : start + len(block)] = np.round(np.clip(chunk / white, 0.0, 1.0) * 255.0)
            start += len(block)
        return rounded


def _channels_may_be_first(shape: tuple[int, ...]) -> bool:
    """Returns whether images [N, ?, ?, ?] look as if their height and width were last."""
    _, first, second, last = shape
    if last <= FEW_CHANNELS or first == second:
        return False
    return first in (1, 3) or second == last or first < min(second, last)


def _scaling(images: np.ndarray) -> str:
    """Returns how integers become uint8 without being cut off or nearly black."""
    if images.dtype.kind not in "iu":
        return "for True and False: x.astype('uint8') * 255; for numbers: x.astype('float32')"
    low, high = (int(images.min()), int(images.max())) if images.size else (0, 0)
    if low < 0:
        return f"it holds {low}..{high}: say what is black and what is white, as by floats in 0..1"
    if high <= 255:
        return "scale it; in 0..255, as it lies: x.astype('uint8')"
    white = white_of(high)
    return (
        f"scale it; it ends at {high}, so {white} may be white: (x / {white / 255:g}).round().astype('uint8')"
    )
