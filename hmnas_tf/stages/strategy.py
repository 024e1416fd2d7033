"""On which devices, of this machine or of several, a run trains."""

from __future__ import annotations

import contextlib
import functools
import json
import os

import numpy as np
import tensorflow as tf

from hmnas_tf.console.cores import cores

CORES_PER_THREAD = 8  # for which an operation gets one thread; measured were one and two cores


def configure_cpu() -> None:
    """Gives TensorFlow the settings that these networks are fastest with where there is no GPU.

    A network of many small operations uses cores best with an operation on each, not all of them on one operation: as
    many operations run at once as there are cores, each on ceil(cores / CORES_PER_THREAD) threads, unless
    TF_NUM_INTRAOP_THREADS says otherwise. TensorFlow's graph optimizer is left out: it costs more at each stage's
    start than it saves later.
    In a process in which TensorFlow computes already, threads stay as they are.
    """
    if tf.config.list_physical_devices("GPU"):
        return
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    if "TF_NUM_INTRAOP_THREADS" not in os.environ:
        with contextlib.suppress(RuntimeError):
            tf.config.threading.set_intra_op_parallelism_threads(-(-cores() // CORES_PER_THREAD))


def make_strategy(replicas: int) -> tf.distribute.Strategy:
    """Returns a mirrored strategy over so many GPUs, or over the CPU's logical devices where there is no GPU.

    Where TF_CONFIG names several workers it is one over the GPUs, or the CPU, of all of them.

    Args:
        replicas: see `find_devices`.

    Raises:
        ValueError: see `find_devices`.
    """
    devices = find_devices(replicas)
    return _over_workers() if several_workers() else tf.distribute.MirroredStrategy(devices)


def find_devices(replicas: int) -> list[str]:
    """Returns the devices of this worker that are to train; several workers find each other.

    So it must be called before TensorFlow computes anything.

    Args:
        replicas: number of devices; 0 is all visible GPUs, or one CPU.

    Raises:
        ValueError: if there are fewer devices, for which TensorFlow would wait for ever, or TF_CONFIG is no
            configuration of workers.
    """
    if several_workers():
        if replicas:
            raise ValueError(
                f"replicas={replicas}, but TF_CONFIG names several workers, which use all GPUs that they see: leave "
                "--replicas out, and limit GPUs by CUDA_VISIBLE_DEVICES."
            )
        _over_workers()
        return []
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    devices = tf.config.list_logical_devices(kind)
    wanted = replicas or (len(devices) if kind == "GPU" else 1)
    if wanted > len(devices):
        raise ValueError(
            f"replicas={wanted}, but only {len(devices)} {kind} device(s) are visible: ask for fewer."
        )
    return [f"{kind}:{i}" for i in range(wanted)]


@functools.cache  # workers can find each other only once in a process
def _over_workers() -> tf.distribute.MultiWorkerMirroredStrategy:
    return tf.distribute.MultiWorkerMirroredStrategy()


def several_workers() -> bool:
    """Returns whether this process is one of several workers.

    Raises:
        ValueError: if TF_CONFIG is no configuration of workers.
    """
    return len(_workers()[0]) > 1


def require_one_worker() -> None:
    """Refuses several workers, before they look for each other; for commands that make many runs.

    Raises:
        ValueError: if TF_CONFIG names several.
    """
    if several_workers():
        raise ValueError(
            "TF_CONFIG names several workers, but this command makes many runs, each of one worker: leave it out and "
            "give each host its own share, as docs/scaling.md shows."
        )


def worker() -> int:
    """Returns the number of this process among the workers, 0 if it is alone; 0 is the chief."""
    return _workers()[1]


def own_part(strategy: tf.distribute.Strategy, batch_size: int) -> np.ndarray | None:
    """Returns which images of a batch this worker computes on, bools [batch_size]; None if it is alone.

    TensorFlow cuts a batch into a part for each replica and deals them out to the workers in turn.
    """
    if not several_workers():
        return None
    replicas = strategy.num_replicas_in_sync
    return np.repeat(np.arange(replicas) % len(_workers()[0]) == worker(), batch_size // replicas)


def _workers() -> tuple[list[str], int]:
    """Returns the addresses of all workers, the chief's first, and the number of this one."""
    text = os.environ.get("TF_CONFIG", "")
    if not text.strip():
        return ["localhost"], 0
    try:
        found = json.loads(text)
        cluster, kind, index = found["cluster"], found["task"]["type"], found["task"]["index"]
        tasks = [(name, i) for name in ("chief", "worker") for i in range(len(cluster.get(name, ())))]
        addresses = [cluster[name][i] for name, i in tasks]
        is_sound = set(cluster) <= {"chief", "worker"} and all(isinstance(a, str) for a in addresses)
        if is_sound and len(cluster.get("chief", ())) <= 1:
            return addresses, tasks.index((kind, index))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise ValueError(
        f"TF_CONFIG={text!r} is no configuration of workers: expected "
        '{"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", "index": N}}, and perhaps one "chief".'
    )


def wait_for_all(strategy: tf.distribute.Strategy) -> None:
    """Returns when every worker has come here."""
    if several_workers():

        @tf.function(autograph=False)
        def here() -> tf.Tensor:
            return strategy.reduce("SUM", strategy.run(lambda: tf.constant(1)), axis=None)

        here()
