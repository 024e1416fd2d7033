"""The supernet's shape: what the search chooses from."""

from __future__ import annotations

import dataclasses

from hmnas_tf.console.ranges import flag
from hmnas_tf.settings.paper import PAPER_OPERATIONS


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpaceSettings:
    """Search space (§4.1)."""

    initial_channels: int = flag(36, "Channels C of the first cell.", low=2)
    cells: int = flag(3, "Cells in the network; reduction cells stand at one and two thirds.", low=1)
    nodes: int = flag(4, "Intermediate nodes in a cell.", low=1)
    operations: tuple[str, ...] = flag(
        PAPER_OPERATIONS, "Comma list of the candidate operations of every edge."
    )
    partial_channels: int = flag(
        1,
        "Only one in this many channels of a node goes through its operations, the others pass by; 1 is all.",
        low=1,
    )
    stem: str = flag(
        "cifar",
        "Stem of the network: `cifar` has 3C channels, `narrow` C, `imagenet` C at an eighth of the resolution.",
    )
    reduce_in: str = flag(
        "operations",
        "What halves in reduction cells: `operations` (DARTS), or, for less, `preprocessing` or a `pooling` before it.",
    )
    edge_softmax: str = flag(
        "node",
        "Softmax of beta over a node's incoming edges (Eq. 2), over the whole cell, or no beta at all.",
    )
    cell_sharing: str = flag(
        "type", "Cells that share alpha and beta: those of one `type`, `all`, or none (`cell`)."
    )
    renormalize: bool = flag(
        False, "Let surviving mixing weights sum to 1 again after masking (DECISION: no)."
    )
