"""Reading image files: upright, 8 bits, grey or RGB, or one clear line that names the file."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from hmnas_tf.data.orientation import orientation_of, upright

# Everything else that Pillow opens is refused: some of it runs other programs (EPS), none of it is a usual
# picture.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")

FULL = 65535  # what 16 bits can hold
BRIGHT = 16  # of 0..255; some data are in 0..16 or 0..1, and images without anything above look nearly black
_GREY_MODES = ("1", "L", "LA", "La", "I", "F")  # besides "I;16" and its kin
_BMP_16 = "BGR;16"  # 5, 6 and 5 bits a value
_STEPS = {"L;2": 85, "L;4": 17, "RGB;16B": 1 / 256}  # from a value in a PNG file to one of 8 bits
_PHOTOMETRIC, _SAMPLES = 262, 277  # entries of a TIFF: white is 0 where the first is 0; number of bands
_Result = TypeVar("_Result")
_reading = threading.local()
logging.getLogger("PIL.TiffImagePlugin").addFilter(lambda record: not getattr(_reading, "silent", False))


class _WithoutWarnings:
    """Silences warnings about harmless oddities of single files, whatever number of threads is inside.

    Filters belong to the process: the first one in sets them, the last one out puts them back.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._before = threading.Lock(), 0, warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._before = warnings.catch_warnings()
                self._before.__enter__()
                warnings.simplefilter("ignore")

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._before.__exit__()


WITHOUT_WARNINGS = _WithoutWarnings()


class ImageHead(NamedTuple):
    """What the head of a file says, before its pixels are decoded."""

    height: int
    width: int
    grey: bool
    highest: int = 0  # value of a pixel, 0..65535, if there are more than 8 bits
    surplus: tuple[str, ...] = ()  # what the file has besides and does not become pixels as it is


def white_of(highest: int) -> int:
    """Returns the value that is white where the highest is this one: the largest that as many bits can hold.

    Cameras and X-ray machines write 10, 12 or 14 bits into files of 16. Of 4,000 it is 4,095, of 40,000 and of 0, which
    says nothing, 65,535.
    """
    return (1 << highest.bit_length()) - 1 if highest else FULL


def read_head(path: str | Path) -> ImageHead:
    """Size (upright, pixels), greyness and range of an image file; ValueError when it is no image."""
    return _guarded(path, _head)


def highest_value(path: str | Path) -> int:
    """Highest value of an image of more than 8 bits, 0 of others; ValueError when it is no image."""
    return _guarded(path, lambda image: _highest(image) if _is_deep(image) else 0)


def read_image(path: str | Path, channels: int, white: int = FULL) -> np.ndarray:
    """Decodes one image file.

    The orientation that a camera notes is honoured, transparency becomes white, of an animation the first picture
    counts. Greys of more than 8 bits are scaled to 8.

    Args:
        path: a file in one of `FORMATS`.
        channels: 1 for grey, 3 for RGB.
        white: the value that becomes 255 where there are more than 8 bits.

    Returns:
        uint8 [H, W, channels].

    Raises:
        ValueError: names the file that is missing, empty, truncated, corrupt, no image, or brighter than white.
    """
    return _guarded(path, lambda image: _decode(image, channels, white))


def _guarded(path: str | Path, function: Callable[[Any], _Result]) -> _Result:
    """Opens `path`, applies `function`, and turns whatever Pillow raises into one line."""
    from PIL import Image  # only the sources that read files need it

    Image.init()  # `formats` below takes only what is registered already
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ValueError("it is no regular file")  # opening a pipe would wait for whoever writes into it
        # A file, not its name: by that Pillow maps raw TIFFs into memory, and mixes up the rows of lying ones.
        with (
            WITHOUT_WARNINGS,
            open(path, "rb") as file,
            _without_log(),
            Image.open(file, formats=FORMATS) as image,
        ):
            return function(image)
    except (
        Exception
    ) as error:  # which kind a broken file raises depends on the format and on where it is broken
        if Path(path).is_file() and Path(path).stat().st_size == 0:
            reason = "it is empty"
        elif isinstance(error, Image.UnidentifiedImageError):
            kind = _begins_as(path)
            reason = (
                f"it is a {kind} file that is damaged, or whose number of bands, bits or compression cannot be read "
                "(1 or 3 bands of 8 bits can be)"
                if kind
                else f"it is none of {', '.join(FORMATS)}"
            )
        else:
            reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"cannot read {path} as an image: {reason}; repair or remove it") from error


@contextlib.contextmanager
def _without_log() -> Iterator[None]:
    """Silences what Pillow logs in this thread of a file that it then refuses: the refusal says it."""
    _reading.silent = True
    try:
        yield
    finally:
        _reading.silent = False


def _begins_as(path: str | Path) -> str:
    """Returns which of `FORMATS` a file's first bytes are of, though it cannot be read; "" if none."""
    from PIL import Image

    with Path(path).open("rb") as file:
        start = file.read(16)
    return next((name for name in FORMATS if Image.OPEN[name][1](start)), "")


def _head(image: Any) -> ImageHead:
    deep = _is_deep(image)  # before the pixels are decoded, when the file's own mode is forgotten
    grey = image.mode in _GREY_MODES or image.mode.startswith("I;16")
    swapped = orientation_of(image) >= 5
    width, height = reversed(image.size) if swapped else image.size
    return ImageHead(height, width, grey, _highest(image) if deep else 0, _surplus(image))


def _surplus(image: Any) -> tuple[str, ...]:
    """Returns what of a file is not read as it is; ask last, because looking for a second picture leaves the first."""
    found = []
    if image.format == "TIFF" and image.tag_v2.get(_SAMPLES, 1) > len(image.getbands()):
        found.append("more bands than grey or colours have, which are left out")
    if image.has_transparency_data:
        found.append("alpha, put on white")
    with contextlib.suppress(Exception):  # of a second picture that is not sound
        if image.format != "MPO" and getattr(image, "is_animated", False):  # MPO: depth and the like
            found.append("more than one picture, of which the first is taken")
    return tuple(found)


def _is_deep(image: Any) -> bool:
    """Returns whether the file has more than 8 bits a value; of colours Pillow gives the upper 8 of 16."""
    if image.mode.startswith("I"):
        return True
    arguments = [tile.args if isinstance(tile.args, tuple) else (tile.args,) for tile in image.tile]
    parts = [part for own in arguments for part in own]
    if image.format == "PPM":  # whose head says what is white
        return any(isinstance(part, int) and part > 255 for part in parts)
    return any(isinstance(part, str) and ";16" in part and part != _BMP_16 for part in parts)


def _highest(image: Any) -> int:
    if image.mode.startswith("I"):
        values = np.asarray(image)
        _require_unsigned(values)
        return int(values.max())
    bands = image.convert("RGB").getextrema()
    return max(high for _, high in bands) * (FULL // 255)


def _decode(image: Any, channels: int, white: int) -> np.ndarray:
    from PIL import Image

    clear = _clear_value(image)  # before the pixels are decoded, when the file's own bits are forgotten
    orientation = orientation_of(image)
    image.load()  # Pillow turns TIFFs here
    if image.mode.startswith("I"):
        values = np.asarray(image)
        eight = _eight_bits(values, white)
        if image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == 0:
            eight = 255 - eight  # Pillow does so up to 8 bits
        image = Image.fromarray(eight if clear is None else np.where(values == clear, np.uint8(255), eight))
    elif image.mode == "F":
        raise ValueError("it holds floating-point values, save it with 8 or 16 bits")
    elif clear is not None:
        image.info["transparency"] = clear
    is_opaque = (
        image.format == "BMP" and image.mode == "RGBA" and not image.getextrema()[3][1]
    )  # alpha unused
    image = upright(image, orientation)
    if image.has_transparency_data and not is_opaque:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(*pixels.shape[:2], channels)


def _clear_value(image: Any) -> Any:
    """Returns the value that is transparent in a PNG, as its pixels will have it; Pillow leaves it as in the file."""
    value = image.info.get("transparency")
    if image.format != "PNG" or not isinstance(value, int | tuple):  # bytes are of a palette
        return None
    step = _STEPS.get(image.tile[0].args if image.tile else "", 1)
    return tuple(int(part * step) for part in value) if isinstance(value, tuple) else int(value * step)


def _eight_bits(values: np.ndarray, white: int) -> np.ndarray:
    # Pillow's own conversion clips at 255 instead of scaling.
    _require_unsigned(values)
    if values.max() > white:
        raise ValueError(
            f"it holds values up to {values.max()}, but those of the training pictures end at {white}, which is taken "
            "for white; scale it as they were"
        )
    return np.round(values / (white / 255.0)).astype(np.uint8)


def _require_unsigned(values: np.ndarray) -> None:
    if values.min() < 0 or values.max() > FULL:
        raise ValueError("it holds values outside 0..65535, save it with 8 or 16 bits")
