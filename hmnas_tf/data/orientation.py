"""Which way up a picture was taken, of the notes that cameras and programs leave in its file.

Only that entry is read: nothing else of the notes matters to a picture, and many a program writes them wrongly.
"""

from __future__ import annotations

import re
import struct
from typing import Any

_TAG = 0x0112
_ORDERS = {b"II": "<", b"MM": ">"}  # of bytes
_NUMBERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}  # kinds of entries that hold whole numbers
_XMP = re.compile(rb"tiff:Orientation(?:=\"|>)([1-8])")


def orientation_of(image: Any) -> int:
    """Returns the orientation of an open image file as EXIF counts, 1..8; from 5 on height and width are swapped.

    1, upright, where there is none or it cannot be read, and of TIFF files, which Pillow turns by itself.
    """
    if image.format == "TIFF":
        return 1
    if image.format == "PNG" and "exif" not in image.info:
        image.load()  # the notes may stand behind the pixels
    value = _of_exif(image.info.get("exif") or b"") or _of_pillow(image) or _of_xmp(image)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def upright(image: Any, orientation: int) -> Any:
    """Returns an image turned and mirrored as its orientation says."""
    from PIL.Image import Transpose

    ways = (
        Transpose.FLIP_LEFT_RIGHT,
        Transpose.ROTATE_180,
        Transpose.FLIP_TOP_BOTTOM,
        Transpose.TRANSPOSE,
        Transpose.ROTATE_270,
        Transpose.TRANSVERSE,
        Transpose.ROTATE_90,
    )  # of 2..8
    return image.transpose(ways[orientation - 2]) if orientation > 1 else image


def _of_exif(notes: bytes) -> int | None:
    """Reads the entry itself: Pillow gives up at an entry before it whose content lies outside of the block."""
    while notes.startswith(b"Exif\0\0"):
        notes = notes[6:]
    order = _ORDERS.get(notes[:2])
    try:
        (start,) = struct.unpack_from(f"{order}I", notes, 4)
        (count,) = struct.unpack_from(f"{order}H", notes, start)
        for place in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", notes, place)
            if tag == _TAG:
                return struct.unpack_from(f"{order}{_NUMBERS[kind]}", notes, place + 8)[0]
    except (struct.error, LookupError):  # cut off, or of another kind
        return None
    return None


def _of_pillow(image: Any) -> Any:
    """Asks Pillow, which also knows notes that are kept as text."""
    try:
        return image.getexif().get(_TAG)
    except Exception:  # as many kinds as there are ways to write the other entries wrongly
        return None


def _of_xmp(image: Any) -> int | None:
    text = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    found = _XMP.search(text.encode("utf-8", "ignore") if isinstance(text, str) else bytes(text))
    return int(found[1]) if found else None
