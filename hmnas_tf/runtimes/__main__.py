"""Runs an artifact on images in a clean process: python -m hmnas_tf.runtimes RUNTIME ARTIFACT PIXELS OUT.

RUNTIME names a file beside this one, or is the path of a Python file elsewhere. PIXELS is an `.npy` of uint8 [N, H, W,
C]. OUT, an `.npz`, gets `logits` [N, classes], `labelling` (the JSON text that lies in the artifact), `seconds` (of
loading, and of a batch of 1 and of 32, the median of several) and what else the runtime's `examine` finds. Only the
artifact says how pixels are normalised.
"""

import importlib
import importlib.util
import json
import os
import pathlib
import sys
import time

import numpy as np

BATCH = 64  # images at a time
EXAMINED = 8  # images that are shown to every endpoint
TIMED_BATCHES = (1, 32)
REPEATS = 9


def main(runtime, path, pixels_path, out_path):
    count = len(np.load(pixels_path, mmap_mode="r"))
    started = time.perf_counter()
    artifact = module_of(runtime).load(path)
    seconds = [time.perf_counter() - started]
    labelling = json.loads(artifact.labelling)
    mean, std = (np.float32(labelling[name]) for name in ("mean", "std"))

    def logits_of(part):
        return artifact.predict((part.astype(np.float32) / np.float32(255) - mean) / std)

    def pixels(start, end):  # opened anew, or all that was read would count as memory
        return np.array(np.load(pixels_path, mmap_mode="r")[start:end])

    logits = np.concatenate([logits_of(pixels(start, start + BATCH)) for start in range(0, count, BATCH)])
    examine = getattr(artifact, "examine", lambda pixels: {})
    found = examine(pixels(0, EXAMINED))
    for batch in TIMED_BATCHES:
        shown = np.zeros((batch, *pixels(0, 1).shape[1:]), np.float32)
        seconds.append(float(np.median([_seconds(artifact.predict, shown) for _ in range(REPEATS)])))
    np.savez(out_path, logits=logits, labelling=artifact.labelling, seconds=seconds, **found)


def module_of(runtime):
    """Returns the module of a runtime; a path ends in `.py`."""
    if not runtime.endswith(".py"):
        return importlib.import_module(f"hmnas_tf.runtimes.{runtime}")
    spec = importlib.util.spec_from_file_location(pathlib.Path(runtime).stem, runtime)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _seconds(predict, images):
    started = time.perf_counter()
    predict(images)
    return time.perf_counter() - started


def as_a_process(work):
    """Does the work of a process with its arguments, and ends it.

    It ends at once: TensorFlow would take seconds to take itself apart, longer than many an artifact has run.
    """
    try:
        work(*sys.argv[1:])
    except Exception as error:  # whatever a runtime raises; only the last line is passed on
        sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())}")
    os._exit(0)


if __name__ == "__main__":
    as_a_process(main)
