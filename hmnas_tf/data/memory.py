"""Where the images of a run are kept, in memory or on disk; what fits into neither is refused before it is read."""

from __future__ import annotations

import math
import os
from pathlib import Path

from hmnas_tf.console.progress import Say
from hmnas_tf.storage.cache import cached

# Bytes that a run takes for each byte of images in memory, at most. Measured: the highest resident memory of runs on 60
# and on 301 MB of images differed by 1.02 times their difference.
COPIES = 1.2
# Share of the memory that images may take: the rest is for the network, whose activations easily need gigabytes, for
# the processes that check exported files, and for whatever else runs on the machine.
COMFORTABLE = 0.5
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of a container
_FOLDER = "images"  # in the cache of all runs
_ADVICE = "use a smaller --image_size, or --train_examples"


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
    advice: str = f"{_ADVICE}; images in files, folder:PATH, may stay on disk",
) -> None:
    """Raises ValueError when a run on images that have to be in memory, as uint8, would need more than there is.

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


def place_on_disk(
    name: str, examples: int, image_shape: tuple[int, int, int], cache_dir: str, say: Say
) -> Path | None:
    """Returns the folder that images are kept in, or None if it is memory: they fit well, and no folder was named.

    Args:
        name: of the dataset, for the message.
        examples: number of training and test images together.
        image_shape: (height, width, channels), pixels.
        cache_dir: `--cache_dir`.
        say: shows a line to the user.
    """
    size, memory = examples * math.prod(image_shape), physical_memory()
    if not cache_dir and COPIES * size <= COMFORTABLE * memory:
        return None
    folder = Path(cache_dir) if cache_dir else cached(_FOLDER)
    why = "--cache_dir" if cache_dir else f"in memory they would take much of its {memory / 1e9:.1f} GB"
    say(
        f"Notice: the {examples:,} images of '{name}', {size / 1e9:.2f} GB, are kept on disk, in {folder} ({why})"
    )
    return folder
