"""Callbacks that observe an architecture while it is searched: its importances, then its masks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import keras
import numpy as np

from hmnas_tf.networks.counting import parameterless
from hmnas_tf.networks.supernet import Supernet
from hmnas_tf.space.topology import edges_into
from hmnas_tf.stages import alarms
from hmnas_tf.stages.budgets import Pressure
from hmnas_tf.stages.telemetry import STRONGEST


def entropy(shares: np.ndarray) -> np.ndarray:
    """Returns the entropy in nats over the last axis, along which `shares` sum to 1; 0 log 0 is 0."""
    shares = np.asarray(shares, np.float64)
    return -np.sum(shares * np.log(np.where(shares > 0, shares, 1.0)), axis=-1)


def strongest_operations(supernet: Supernet) -> list[np.ndarray]:
    """Returns each edge's most important operation for each group of cells: columns, int [edges]; of ties the first."""
    return [_importances(encoding)[0].argmax(axis=1) for encoding in supernet.encodings]


def _importances(encoding: keras.layers.Layer) -> tuple[np.ndarray, np.ndarray]:
    of_operations, of_edges = (keras.ops.convert_to_numpy(values) for values in encoding.importances())
    return of_operations, of_edges


class Importances(keras.callbacks.Callback):
    """Adds to the logs how decided the architecture parameters are, and for what; warns of a search that collapses.

    - `operation_entropy`: entropy of the operation importances of an edge, mean over the edges; ln(operations) is
      undecided, 0 is one operation an edge.
    - `edge_entropy`: entropy of the importances of a node's incoming edges, mean over the nodes. A softmax over the
      whole cell is first divided by its sum over the node, so that the number means the same for `node` and `dag`.
      Without edge softmax (`none`) nothing is learned there, and there is no entry.
    - `strongest/NAME`: number of edges whose most important operation this is, one entry for each candidate.
    - `parameterless_share`: share of edges whose most important operation has no parameters.

    Edges and nodes are those of each group of cells with its own alpha and beta; all count alike.

    Args:
        supernet: being trained; only read.
        warmup_epochs: in which alpha stands still; from their end on a collapse is looked for, once alpha is no
            longer what chance made it.
        warn: shows warnings, one line each, to the user; of a collapse it is told once at most.
    """

    def __init__(self, supernet: Supernet, *, warmup_epochs: int, warn: Callable[[Iterable[str]], None]):
        super().__init__()
        self.supernet = supernet
        self.warmup_epochs = warmup_epochs
        self.warn = warn
        self._without = np.array(parameterless(supernet.topology.operations))
        self._warned = False

    def on_epoch_end(self, epoch, logs=None):
        strongest = strongest_operations(self.supernet)
        logs |= self._entropies() | self._choices(np.concatenate(strongest))
        undecided = alarms.UNDECIDED * np.log(len(self.supernet.topology.operations))
        if epoch >= self.warmup_epochs and logs["operation_entropy"] <= undecided and not self._warned:
            warnings = alarms.collapse(self.supernet, strongest, epoch + 1)
            self._warned = bool(warnings)
            self.warn(warnings)

    def _entropies(self) -> dict[str, float]:
        of_operations, of_edges = zip(*map(_importances, self.supernet.encodings), strict=True)
        logs = {"operation_entropy": float(entropy(np.concatenate(of_operations)).mean())}
        if self.supernet.encodings[0].edge_softmax != "none":
            parts = [edges[part] for edges in of_edges for part in edges_into(self.supernet.topology.nodes)]
            logs["edge_entropy"] = float(np.mean([entropy(part / part.sum()) for part in parts]))
        return logs

    def _choices(self, strongest: np.ndarray) -> dict[str, float]:
        operations = self.supernet.topology.operations
        counts = np.bincount(strongest, minlength=len(operations))
        logs = {STRONGEST + name: int(count) for name, count in zip(operations, counts, strict=True)}
        return logs | {"parameterless_share": float(self._without[strongest].mean())}


class Survivors(keras.callbacks.Callback):
    """Adds to the logs what the masks leave and how far they are from the threshold.

    - `operations`, `edges`: that survive, counted once for each group of cells that share their masks.
    - `weight_density`: share of the convolution weights whose mask is 1.
    - `architecture_margin_min`, `architecture_margin_mean`: smallest and mean of real mask - threshold over the masks
      of operations and edges; at or below 0 a mask has fallen.
    - `weight_margin_min`, `weight_margin_mean`: the same over the masks of weights.
    - with budgets, for each: `NAME_cost` of what the masks leave, `NAME_bound` and `NAME_multiplier`, see `budgets`.

    Args:
        supernet: whose masks are searched; only read.
        pressure: of budgets.
    """

    def __init__(self, supernet: Supernet, pressure: Pressure | None = None):
        super().__init__()
        self.supernet = supernet
        self.pressure = pressure

    def on_epoch_end(self, epoch, logs=None):
        supernet = self.supernet
        threshold = supernet.encodings[0].threshold
        logs["operations"], logs["edges"] = alarms.surviving(supernet)
        masks = [convolution.binary_mask() for convolution in supernet.masked_convolutions]
        logs["weight_density"] = float(sum(m.sum() for m in masks) / sum(m.size for m in masks))
        logs |= margins("architecture", supernet.architecture_masks, threshold)
        logs |= margins("weight", supernet.weight_masks, threshold)
        if self.pressure is not None:
            logs |= self.pressure.report(int(self.model.optimizer.iterations.numpy()))


def margins(kind: str, real_masks: Sequence[keras.Variable], threshold: float) -> dict[str, float]:
    """Returns the smallest and the mean of real mask - threshold over all masks of a kind, as entries of the logs."""
    values = [keras.ops.convert_to_numpy(mask).astype(np.float64) - threshold for mask in real_masks]
    mean = sum(v.sum() for v in values) / sum(v.size for v in values)
    return {f"{kind}_margin_min": float(min(v.min() for v in values)), f"{kind}_margin_mean": float(mean)}
