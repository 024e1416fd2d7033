"""The milliseconds of a run: a table of parts that is kept for this machine, and whole networks, timed."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from hmnas_tf.console.progress import counted, watched
from hmnas_tf.derivation.derive import derive
from hmnas_tf.derivation.fold import fold
from hmnas_tf.derivation.pad import MULTIPLE, pad
from hmnas_tf.derivation.rules import genotype_of
from hmnas_tf.exporters.formats import EXPORTERS
from hmnas_tf.exporters.timing import artifact_for, time_file, time_models, version_of
from hmnas_tf.networks.handmade import mobilenet
from hmnas_tf.networks.latency import Table
from hmnas_tf.networks.latency_parts import parts_of, whole_key
from hmnas_tf.networks.supernet import Supernet
from hmnas_tf.runs.processor import processor
from hmnas_tf.runs.run import Run
from hmnas_tf.stages.strategy import several_workers
from hmnas_tf.storage import atomic
from hmnas_tf.storage.cache import cached
from hmnas_tf.storage.run_folder import RunFolder

SCHEMA = 3  # all at the pace of one moment, which `REFERENCE` tells
REFERENCE = "reference"  # key of a network that is always the same, timed beside all others
AT_A_TIME = 24  # parts between two writes of the table
NOISY = 0.1  # spread of repeated measurements, over their median, above which milliseconds say little


def conditions(runtime: str) -> dict[str, str]:
    """Returns what a table of milliseconds holds for: form of networks, runtime, its version, and processor."""
    versions = {"schema": str(SCHEMA), "runtime": runtime, "version": version_of(runtime)}
    return versions | {"processor": processor()}


def kept_table(runtime: str) -> Path:
    """Returns the file in which this machine's table is kept."""
    name = hashlib.sha256(json.dumps(conditions(runtime)).encode()).hexdigest()[:12]
    return cached(f"latency_{runtime}_{name}.json")


def multiple_of(runtime: str) -> int:
    """Returns of what all numbers of channels are multiples in the files of a runtime."""
    return MULTIPLE if EXPORTERS[artifact_for(runtime)].form == "padded" else 1


def table_of(run: Run, supernet: Supernet) -> Table:
    """Returns the milliseconds of all parts of a run's supernet; what is not known yet is measured.

    The table of the run, `latency_table.json`, is complete before anything is trained, so a run that goes on computes
    with the same numbers.

    Args:
        run: with a budget of milliseconds.
        supernet: built, untrained, with width masks.

    Raises:
        ValueError: if the run has a table of another machine, or there are several workers.
    """
    if several_workers():
        raise ValueError(
            "max_latency_ms is measured on one machine, but TF_CONFIG names several workers: ask for parameters or "
            "multiply-adds."
        )
    runtime, own = run.config.latency_runtime, run.folder.path / "latency_table.json"
    needed = parts_of(supernet, multiple_of(runtime)) | {whole_key(supernet): _derived(run, supernet)}
    if own.exists():
        times = _read(own, runtime)
        if {*needed, REFERENCE} <= times.keys():
            return times
    kept = kept_table(runtime)
    try:
        times = _read(kept, runtime) if kept.exists() else {}
    except ValueError as error:
        run.warn([f"{error} It is measured again."])
        times = {}
    missing = {key: build for key, build in needed.items() if key not in times}
    if missing:
        times = times | _measured(run, kept, times, missing)
    times = {key: times[key] for key in (*needed, REFERENCE)}
    _write(own, runtime, times)
    return times


def _measured(
    run: Run, kept: Path, times: Table, missing: Mapping[str, Callable[[], keras.Model]]
) -> dict[str, float]:
    """Measures parts, and adds them to the machine's table as they come, at the pace that it had at the first."""
    runtime, found, spreads = run.config.latency_runtime, {}, []
    run.say(
        f"latency: {counted(len(missing), 'part')} of the search space timed in {version_of(runtime)}, once for this "
        f"machine; kept in {kept}"
    )
    names = list(missing)
    batches = [names[start : start + AT_A_TIME] for start in range(0, len(names), AT_A_TIME)]
    for keys in watched(batches, run.say, "latency"):
        models = {key: functools.partial(_exported, runtime, missing[key]) for key in keys}
        timed = time_models(runtime, models | {REFERENCE: functools.partial(reference, runtime)})
        spreads += [spread(milliseconds) for milliseconds in timed.values()]
        found |= at_pace(timed, {**times, **found}.get(REFERENCE))
        try:
            _write(kept, runtime, {**times, **found})
        except OSError as error:
            run.warn([f"{kept} cannot be written ({error}): other runs will measure again."])
    noise = float(np.median(spreads))
    if noise > NOISY:
        run.warn(
            [
                f"the machine is too noisy to tell milliseconds: repeated measurements differ by {100 * noise:.0f} %. "
                f"Stop what runs beside, remove {kept} and begin again in another --workdir."
            ]
        )
    return found


def reference(runtime: str) -> keras.Model:
    """Returns a small network, always the same, as it is exported for a runtime.

    A machine is at times faster and at times slower, by a half and more if others have a part of it. Beside this
    network, in the same rounds, times of different moments can be compared.
    """
    return _exported(runtime, lambda: mobilenet(16, (32, 32, 3), 10))


def at_pace(timed: Mapping[str, np.ndarray], pace: float | None) -> dict[str, float]:
    """Returns the median milliseconds of networks as they were if `REFERENCE` took `pace`.

    Args:
        timed: milliseconds, a number a round, of networks and of `REFERENCE`, which had their turns together.
        pace: milliseconds of `REFERENCE`; None for what it takes now.

    >>> at_pace({"a": np.array([1.0, 3.0, 2.0]), REFERENCE: np.array([0.5])}, 0.25)
    {'a': 1.0, 'reference': 0.25}
    """
    medians = {name: float(np.median(milliseconds)) for name, milliseconds in timed.items()}
    factor = 1.0 if pace is None else pace / medians[REFERENCE]
    return {name: factor * median for name, median in medians.items()}


def spread(milliseconds: np.ndarray) -> float:
    """Returns the distance between the quartiles of repeated measurements over their median."""
    low, middle, high = np.percentile(milliseconds, (25, 50, 75))
    return float((high - low) / middle)


def time_networks(runtime: str, networks: Mapping[str, keras.Model]) -> dict[str, float]:
    """Returns the median milliseconds of networks of stock layers, as they are exported for a runtime."""
    models = {
        name: functools.partial(_exported, runtime, lambda own=own: own) for name, own in networks.items()
    }
    return {name: float(np.median(found)) for name, found in time_models(runtime, models).items()}


def searched(run: Run, supernet: Supernet) -> Callable[[], keras.Model]:
    """Returns what makes the network that the masks leave, as it is exported for the runtime of a run."""
    return functools.partial(_exported, run.config.latency_runtime, _derived(run, supernet))


def time_searched(run: Run, supernet: Supernet) -> np.ndarray:
    """Returns the milliseconds of the network that the masks leave, a number a round, [rounds]."""
    return time_models(run.config.latency_runtime, {"network": searched(run, supernet)})["network"]


def time_exported(run: Run, written: Mapping[str, Mapping[str, Any]]) -> None:
    """Times the exported file and records it; says so if it takes longer than was asked for.

    Args:
        run: with a budget of milliseconds.
        written: artifacts as `results.json` has them.
    """
    runtime, asked = run.config.latency_runtime, run.config.max_latency_ms
    path = written[artifact_for(runtime)]["path"]
    milliseconds = time_file(runtime, run.folder.path / path)
    measured = float(np.median(milliseconds))
    record_milliseconds(run.folder, runtime, measured)
    run.say(
        f"latency: {path} takes {measured:.3f} ms of {asked:g} ms asked for ({version_of(runtime)}, one thread)"
    )
    if measured > asked:
        run.warn(
            [
                f"{path} takes {measured:.3f} ms, more than max_latency_ms={asked:g}: repeated measurements differ by "
                f"{100 * spread(milliseconds):.0f} %; measure again on a quiet machine, or ask for less."
            ]
        )


def record_milliseconds(folder: RunFolder, runtime: str, milliseconds: float) -> None:
    """Adds to a run's `results.json` what its network was measured to take."""
    known = folder.results.get("latency", {})
    folder.update(latency=known | {"runtime": runtime, "measured_ms": round(milliseconds, 4)})


def _derived(run: Run, supernet: Supernet) -> Callable[[], keras.Model]:
    return functools.partial(derive, supernet, genotype_of(supernet, "masks"), run.dataset.image_shape)


def _exported(runtime: str, build: Callable[[], keras.Model]) -> keras.Model:
    return pad(fold(build()), multiple_of(runtime))


def _write(path: Path, runtime: str, times: Table) -> None:
    atomic.write_json(path, {**conditions(runtime), "milliseconds": dict(times)})


def _read(path: Path, runtime: str) -> dict[str, float]:
    """Returns the milliseconds of a table.

    Raises:
        ValueError: if it cannot be read, or is of another machine.
    """
    expected = conditions(runtime)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        times = {str(key): float(value) for key, value in content["milliseconds"].items()}
        found = {name: content[name] for name in expected}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{path} is no table of milliseconds ({type(error).__name__}): remove it."
        ) from error
    for name, value in expected.items():
        if found[name] != value:
            raise ValueError(
                f"{path} was measured with {name} {found[name]!r}, but this is {value!r}: milliseconds of one machine "
                "do not hold on another; go on where it was measured, or take another --workdir."
            )
    return times
