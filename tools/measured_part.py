"""The part of a document that a tool measures: between two marks, replaced as a whole; and the machine's name."""

from __future__ import annotations

import platform
from pathlib import Path

from hmnas_tf.console.paths import path_of
from hmnas_tf.storage import atomic

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def processor() -> str:
    """Returns the name of the processor, as far as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    wide = any("avx512f" in line for line in lines)
    return f"{(names or [platform.processor()])[0]} ({'with' if wide else 'without'} AVX-512)"


def require_marks(path: str | None) -> None:
    """Refuses a document without the marks, before anything is measured.

    Raises:
        ValueError: if a mark is missing.
    """
    text = path_of(path).read_text(encoding="utf-8") if path else BEGIN + END
    if BEGIN not in text or END not in text:
        raise ValueError(f"{path}: expected the marks {BEGIN} and {END}.")


def publish(path: str | None, lines: list[str]) -> None:
    """Puts lines between the marks of a document, or prints them if there is none."""
    body = "\n".join(lines)
    if not path:
        print(body)
        return
    document = path_of(path, "into")
    text = document.read_text(encoding="utf-8")
    atomic.write_text(document, f"{text.split(BEGIN)[0]}{BEGIN}\n\n{body}\n\n{END}{text.split(END)[1]}")
