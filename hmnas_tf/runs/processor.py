"""The processor: its name, and what is known to go wrong on some, told before anything is trained."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from hmnas_tf.config import Config

CPUINFO = Path("/proc/cpuinfo")
NARROW = 8  # channels; seen with 2, 4 and 6
LARGE = 64  # pixels a side


def processor() -> str:
    """Returns the name of this machine's processor, as far as the system tells it."""
    lines = _cpuinfo().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    wide = any("avx512f" in line for line in lines)
    return f"{(names or [platform.processor()])[0]} ({'with' if wide else 'without'} AVX-512)"


def known_crashes(config: Config, image_shape: tuple[int, int, int]) -> list[str]:
    """Returns a line if TensorFlow has been seen to crash with such a network on such a processor.

    In oneDNN, on Intel processors with AMX, in fine-tuning of narrow networks on images of 64 pixels: the process ends
    by `free(): invalid size` or a segmentation fault. One operation that does that was found on a processor with AVX2,
    the gradient of a 1x1 convolution of stride 2 to two channels, and is avoided since (`stock.pointwise`); with AMX it
    was not tried again.

    Args:
        config: of the run.
        image_shape: height, width, channels.
    """
    on = os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1") != "0"
    if not on or config.initial_channels >= NARROW or min(image_shape[:2]) < LARGE or not _has_amx():
        return []
    return [
        f"on this processor TensorFlow has crashed in fine-tuning with fewer than {NARROW} channels at {LARGE} pixels: "
        "if it does, start the same command with TF_ENABLE_ONEDNN_OPTS=0 before it; it goes on from its checkpoint."
    ]


def _has_amx() -> bool:
    return "amx_tile" in _cpuinfo()


def _cpuinfo() -> str:
    return CPUINFO.read_text(encoding="utf-8", errors="replace") if CPUINFO.exists() else ""
