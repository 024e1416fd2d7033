"""Times artifacts in a clean process: python -m hmnas_tf.runtimes.timing RUNTIME FOLDER OUT.

RUNTIME names a file beside this one. FOLDER holds artifacts for it. OUT, an `.npz`, gets for each of them, by its name,
`ROUNDS` times the seconds of one image on one thread. In every round all artifacts have their turn, so that what
disturbs the machine for a moment disturbs none of them alone.
"""

import json
import pathlib
import time

import numpy as np

from hmnas_tf.runtimes.__main__ import as_a_process, module_of

ROUNDS = 9
LEAST = 0.008  # seconds that an artifact has in a round, at least
ALL = 0.1  # seconds that all of them have together in a round, at least
FEWEST = 5  # images in a round


def main(runtime, folder, out_path):
    load = module_of(runtime).load
    calls = {}
    for path in sorted(pathlib.Path(folder).iterdir()):
        artifact = load(str(path), threads=1)
        shape = json.loads(artifact.labelling)["image_shape"]
        pixels = np.random.default_rng(0).standard_normal((1, *shape)).astype(np.float32)
        calls[path.name] = artifact.prepared(pixels)
    least = max(LEAST, ALL / len(calls))
    rounds = [{name: _seconds(call, least) for name, call in calls.items()} for _ in range(ROUNDS)]
    np.savez(out_path, **{name: [each[name] for each in rounds] for name in calls})


def _seconds(call, least):
    """Returns the median seconds of some calls, after one that is not counted."""
    call()
    found, began = [], time.perf_counter()
    while len(found) < FEWEST or time.perf_counter() - began < least:
        started = time.perf_counter()
        call()
        found.append(time.perf_counter() - started)
    return float(np.median(found))


if __name__ == "__main__":
    as_a_process(main)
