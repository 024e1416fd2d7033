"""Reading image files: upright, 8 bits, grey or RGB, or one clear line that names the file."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

# Everything else that Pillow opens is refused: some of it runs other programs (EPS), none of it is a usual
# picture.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")

_GREY_MODES = ("1", "L", "LA", "La", "I", "F")  # besides "I;16" and its kin
_Result = TypeVar("_Result")
_ORIENTATION = 0x0112  # EXIF tag; 5..8 swap height and width


class ImageHead(NamedTuple):
    """What the head of a file says, before its pixels are decoded."""

    height: int
    width: int
    grey: bool


def read_head(path: str | Path) -> ImageHead:
    """Size (upright, pixels) and greyness of an image file; ValueError when it is no image."""
    return _guarded(path, _head)


def read_image(path: str | Path, channels: int) -> np.ndarray:
    """Decodes one image file.

    The EXIF orientation is honoured, 16-bit greys are scaled to 8 bits, transparency becomes white, of an
    animation the first picture counts.

    Args:
        path: a file in one of `FORMATS`.
        channels: 1 for grey, 3 for RGB.

    Returns:
        uint8 [H, W, channels].

    Raises:
        ValueError: names the file that is missing, empty, truncated, corrupt or no image.
    """
    return _guarded(path, lambda image: _decode(image, channels))


def _guarded(path: str | Path, function: Callable[[Any], _Result]) -> _Result:
    """Opens `path`, applies `function`, and turns whatever Pillow raises into one line."""
    from PIL import Image  # only the sources that read files need it

    # Which exception a broken file raises depends on the format and on where it is broken.
    broken = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
    Image.init()  # `formats` below takes only what is registered already
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about harmless oddities of single files
            with Image.open(path, formats=FORMATS) as image:
                return function(image)
    except broken as error:
        if Path(path).is_file() and Path(path).stat().st_size == 0:
            reason = "it is empty"
        elif isinstance(error, Image.UnidentifiedImageError):
            reason = f"it is none of {', '.join(FORMATS)}"
        else:
            reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"cannot read {path} as an image: {reason}; repair or remove it") from error


def _head(image: Any) -> ImageHead:
    width, height = image.size
    # Pillow turns TIFFs by itself and states their size accordingly.
    if image.format != "TIFF" and image.getexif().get(_ORIENTATION) in (5, 6, 7, 8):
        width, height = height, width
    return ImageHead(height, width, image.mode in _GREY_MODES or image.mode.startswith("I;16"))


def _decode(image: Any, channels: int) -> np.ndarray:
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        image = Image.fromarray(_eight_bits(np.asarray(image)))
    elif image.mode == "F":
        raise ValueError("it holds floating-point values, save it with 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(*pixels.shape[:2], channels)


def _eight_bits(values: np.ndarray) -> np.ndarray:
    # Pillow's own conversion clips at 255 instead of scaling.
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("it holds values outside 0..65535, save it with 8 or 16 bits")
    return np.round(values / 257.0).astype(np.uint8)
