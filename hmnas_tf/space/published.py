"""Published architectures, by name.

Which operation stands on which edge is a fact of the papers: DARTS (arXiv:1806.09055, Figures 4 and 5, first and second
order; github.com/quark0/darts) and PC-DARTS (arXiv:1907.05737, on CIFAR-10 and on ImageNet).
"""

from __future__ import annotations

from hmnas_tf.settings.paper import PAPER_OPERATIONS
from hmnas_tf.space.darts_form import DartsForm, from_darts
from hmnas_tf.space.genotype import Genotype
from hmnas_tf.space.topology import Topology

NODES = 4
_SHORT = {
    "avg": "avg_pool_3x3",
    "dil3": "dil_conv_3x3",
    "dil5": "dil_conv_5x5",
    "max": "max_pool_3x3",
    "sep3": "sep_conv_3x3",
    "sep5": "sep_conv_5x5",
    "skip": "skip_connect",
}


def _cell(text: str) -> tuple[tuple[str, int], ...]:
    """Reads `operation<source` twice a node."""
    pairs = (word.split("<") for word in text.split())
    return tuple((_SHORT[name], int(source)) for name, source in pairs)


def _form(normal: str, reduce: str) -> DartsForm:
    concat = tuple(range(2, 2 + NODES))
    return DartsForm(_cell(normal), concat, _cell(reduce), concat)


PUBLISHED = {
    "DARTS_V1": _form(
        "sep3<1 sep3<0  skip<0 sep3<1  skip<0 sep3<1  sep3<0 skip<2",
        "max<0 max<1  skip<2 max<0  max<0 skip<2  skip<2 avg<0",
    ),
    "DARTS_V2": _form(
        "sep3<0 sep3<1  sep3<0 sep3<1  sep3<1 skip<0  skip<0 dil3<2",
        "max<0 max<1  skip<2 max<1  max<0 skip<2  skip<2 max<1",
    ),
    "PC_DARTS_cifar": _form(
        "sep3<1 skip<0  sep3<0 dil3<1  sep5<0 sep3<1  avg<0 dil3<1",
        "sep5<1 max<0  sep5<1 sep5<2  sep3<0 sep3<3  sep3<1 sep3<2",
    ),
    "PC_DARTS_image": _form(
        "skip<1 sep3<0  sep3<0 skip<1  sep3<1 sep3<3  sep3<1 dil5<4",
        "sep3<0 skip<1  dil5<2 max<1  sep3<2 sep3<1  sep5<0 sep3<3",
    ),
}


def published(
    name: str, *, initial_channels: int, cells: int, stem: str = "cifar", reduce_in: str = "operations"
) -> Genotype:
    """Returns a published architecture as a genotype of the size asked for.

    Args:
        name: in `PUBLISHED`.
        initial_channels: C of the first cell; the papers evaluate with 36 on CIFAR-10, 48 on ImageNet.
        cells: number of cells; the papers take 20 and 14.
        stem: `cifar` or `imagenet`; ours, `narrow`, see `Topology`.
        reduce_in: `operations`; ours, `preprocessing` or `pooling`, see `Topology`.

    Raises:
        ValueError: if the name is unknown.
    """
    if name not in PUBLISHED:
        raise ValueError(
            f"{name!r} is no published architecture: choose one of {', '.join(sorted(PUBLISHED))}."
        )
    topology = Topology(
        initial_channels=initial_channels,
        cells=cells,
        nodes=NODES,
        operations=PAPER_OPERATIONS,
        stem=stem,
        reduce_in=reduce_in,
    )
    return from_darts(PUBLISHED[name], topology)
