"""Refusing data that cannot fit, before hours are spent reading it."""

from __future__ import annotations

import os
from pathlib import Path

# Bytes that a run takes for each byte of images, at most: the arrays, the tensors that all streams share, and as much
# again while they are made or passed on. Measured: the highest resident memory of runs on 64 and on 192 MB of images
# differed by 3.0 times their difference, from the first stage on to the last.
COPIES = 3.0
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of a container


def physical_memory() -> int:
    """Bytes of main memory that this process can have: of the machine, or what its container is given."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in map(Path, _LIMITS):
        text = path.read_text(encoding="utf-8").strip() if path.is_file() else ""
        if text.isdecimal():  # "max" is none
            found.append(int(text))
    return min(found)


def check_fits(
    name: str,
    examples: int,
    image_shape: tuple[int, int, int],
    *,
    copies: float = COPIES,
    advice: str = "use a smaller --image_size, or --train_examples",
) -> None:
    """Raises ValueError when a run on the images, as uint8, would need more than the memory there is.

    Args:
        name: of the dataset, for the message.
        examples: number of training and test images together.
        image_shape: (height, width, channels), pixels.
        copies: bytes needed for each byte of the images.
        advice: what to do.

    Raises:
        ValueError: names the bytes needed, the bytes there are, and what to do.
    """
    height, width, channels = image_shape
    needed, available = copies * examples * height * width * channels, physical_memory()
    if needed > available:
        raise ValueError(
            f"dataset '{name}': {examples} images of {height}x{width}x{channels} need "
            f"{needed / 1e9:.1f} GB of memory ({copies:g} times their bytes), this machine has {available / 1e9:.1f}; "
            f"{advice}"
        )
