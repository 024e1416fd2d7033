"""What arrays of a user are taken for images and labels; everything else is refused in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hmnas_tf.data.image_dataset import ImageDataset, content_version
from hmnas_tf.data.labels import read_labels
from hmnas_tf.data.memory import check_fits
from hmnas_tf.data.resizing import resize_array

KEYS = ("x_train", "y_train", "x_test", "y_test")
AUGMENTATION = ("crop", "flip", "cutout")  # of images that nothing is known of
_CHUNK = 1024  # images turned to uint8 at a time
_ROUNDING = 1e-3  # of the range: floats this little outside are taken for its ends
_BRIGHT = 16  # floats in 0..255 have one above this: some data are in 0..16, and would come out nearly black


def dataset_of_arrays(
    name: str,
    where: str,
    arrays: Mapping[str, np.ndarray],
    class_names: Sequence[str] | None = None,
    image_size: int = 0,
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

    Returns:
        The dataset; its version is the hash of images, before they are resized, and labels.

    Raises:
        ValueError: one line about what does not fit.
    """
    train, test = Pixels(f"{where}: x_train"), Pixels(f"{where}: x_test")
    x_train, x_test = train(arrays["x_train"]), test(arrays["x_test"])
    test.require_scale_of(train)
    labels = read_labels(arrays["y_train"], arrays["y_test"], class_names, where)
    y_train, y_test = labels.y_train, labels.y_test
    if image_size:
        check_fits(name, len(x_train) + len(x_test), (image_size, image_size, x_train.shape[3]))
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
    """

    def __init__(self, what: str):
        self.what = what
        self._white: float | None = None  # the float that becomes 255

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Returns [N, H, W] or [N, H, W, C] as uint8 [N, H, W, C].

        Raises:
            ValueError: on another shape, kind of number, or range.
        """
        what = self.what
        if images.ndim == 3:
            images = images[..., None]  # [N, H, W, 1]
        if images.ndim != 4:
            raise ValueError(
                f"{what} must be [N, H, W] or [N, H, W, C], got {list(images.shape)}; reshape it"
            )
        if images.shape[1] in (1, 3) and images.shape[3] > 4:
            raise ValueError(
                f"{what} must have the channels last, [N, H, W, C], got {list(images.shape)}; "
                "transpose it by (0, 2, 3, 1)"
            )
        if images.dtype == np.uint8:
            return images
        if images.dtype == np.uint16:
            raise ValueError(f"{what} must be uint8, got uint16; scale it: (x / 257).round().astype('uint8')")
        if images.dtype.kind != "f":
            raise ValueError(
                f"{what} must be uint8 or floats, got {images.dtype}; for 0..255: x.astype('uint8')"
            )
        return self._rounded(images, self._white_of(images))

    def require_scale_of(self, other: Pixels) -> None:
        """Refuses floats in 0..1 beside floats in 0..255.

        Raises:
            ValueError: naming both.
        """
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
        if high > 1 + _ROUNDING and self._white != 255:
            if self._white or high <= _BRIGHT:
                raise self._refusal(low, high)
            self._white = 255.0
        elif high > 0 and not self._white:
            self._white = 1.0
        return self._white or 1.0

    def _refusal(self, low: float, high: float) -> ValueError:
        expected = (
            "0..1, as those before" if self._white == 1 else f"0..1, or in 0..255 with some above {_BRIGHT}"
        )
        return ValueError(
            f"{self.what}: floats must lie in {expected}, got {low:g}..{high:g}; undo a normalisation, scale all "
            "alike, or give uint8"
        )

    def _rounded(self, images: np.ndarray, white: float) -> np.ndarray:
        rounded = np.empty(images.shape, np.uint8)
        for start in range(0, len(images), _CHUNK):
            chunk = images[start : start + _CHUNK].astype(np.float32, copy=False)
            rounded[start : start + _CHUNK] = np.round(np.clip(chunk / white, 0.0, 1.0) * 255.0)
        return rounded
