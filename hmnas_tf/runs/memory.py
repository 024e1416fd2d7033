"""The memory that a run's network may need, `--max_memory_kb`: asked as soon as the network is known."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from pathlib import Path

import keras

from hmnas_tf.exporters import micro
from hmnas_tf.exporters.artifacts import Network
from hmnas_tf.exporters.formats import artifacts_of
from hmnas_tf.runs.budgeting import InfeasibleError
from hmnas_tf.runs.publication import network_of
from hmnas_tf.runs.run import Run, precision
from hmnas_tf.settings.budgets import KB


class TooLargeError(InfeasibleError):
    """The network that a search has led to needs more memory than was asked for; another search may do better."""


def require_memory(run: Run, make: Callable[[], keras.Model]) -> None:
    """Refuses a network that needs more memory than `--max_memory_kb`, before it is fine-tuned.

    That of the format `micro` counts if it is asked for, with the whole arena, and otherwise the activations of the
    artifact that needs least. Nothing of them depends on the values that fine-tuning changes.

    Args:
        run: whose search is done.
        make: returns the network that fine-tuning starts from.

    Raises:
        TooLargeError: with what it needs and what to do. The run goes on with a limit that it keeps.
    """
    config = run.config
    if not config.max_memory_kb or run.done("finetuned"):
        return
    run.say("building the network as it will be exported, to know its memory")
    with precision("float32"):
        network = network_of(run.folder, run.dataset, make())
    names = artifacts_of(config.formats, config.quantize)
    artifact = micro.NAME if micro.NAME in names else min(names, key=network.memory_bytes)
    needed = needed_by(network, artifact)
    run.say(f"memory: {needed / KB:,.1f} kB in {artifact}, of {config.max_memory_kb:,} kB asked for")
    if needed > config.max_memory_kb * KB:
        raise TooLargeError(
            f"max_memory_kb={config.max_memory_kb} cannot be met: the network that was found needs "
            f"{needed / KB:,.1f} kB in {artifact}. Nothing is lost: with --max_memory_kb={math.ceil(needed / KB)} or 0 "
            "this run goes on. A smaller --initial_channels or --image_size, in another --workdir, needs "
            f"less{_in_bytes(network, artifact)}."
        )


def needed_by(network: Network, artifact: str) -> int:
    """Returns the bytes of memory that an artifact needs: activations, or the arena, which is tried out."""
    if artifact != micro.NAME:
        return network.memory_bytes(artifact)
    with tempfile.TemporaryDirectory() as folder:
        return micro.write_model(network.cargo("folded"), Path(folder))["arena_bytes"]


def _in_bytes(network: Network, artifact: str) -> str:
    """Returns what an artifact of 8 bits would need, if this one has more."""
    least = network.memory_bytes(micro.NAME)
    if least == network.memory_bytes(artifact):
        return ""
    return f"; so do 8 bits (--formats=micro or --quantize=int8), about {least / KB:,.1f} kB"
