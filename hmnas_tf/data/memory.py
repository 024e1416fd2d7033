"""Refusing data that cannot fit, before hours are spent reading it."""

from __future__ import annotations

import os


def physical_memory() -> int:
    """Bytes of main memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_fits(name: str, examples: int, image_shape: tuple[int, int, int]) -> None:
    """Raises ValueError when the images as uint8 would be larger than the physical memory.

    Args:
        name: of the dataset, for the message.
        examples: number of training and test images together.
        image_shape: (height, width, channels), pixels.

    Raises:
        ValueError: names the bytes needed, the bytes there are, and what to do.
    """
    height, width, channels = image_shape
    needed, available = examples * height * width * channels, physical_memory()
    if needed > available:
        raise ValueError(
            f"dataset '{name}': {examples} images of {height}x{width}x{channels} need "
            f"{needed / 1e9:.1f} GB of memory, this machine has {available / 1e9:.1f}; "
            "use a smaller --image_size, or --train_examples"
        )
