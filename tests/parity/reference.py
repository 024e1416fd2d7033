"""The supernet of HM-NAS once more, in plain eager PyTorch: what the project's own one is compared with.

Written from the papers (arXiv:1909.00122; arXiv:1806.09055) as most searches are written: a module for each operation
of each edge, which run one after the other. Images are [batch, channels, height, width]; `channels_last` memory works.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial, reduce

import torch
from torch import nn
from torch.nn import functional


def total(terms: Iterable[torch.Tensor]) -> torch.Tensor:
    return reduce(torch.add, terms)  # `sum` would add the first to 0


def batch_norm(channels: int, affine: bool) -> nn.Module:
    return nn.BatchNorm2d(channels, eps=1e-5, momentum=0.1, affine=affine)


def separable(
    channels: int, stride: int, affine: bool, kernel: int, dilation: int = 1, repeats: int = 1
) -> nn.Module:
    """ReLU, depthwise convolution, 1x1 convolution, batch normalization; repeats have stride 1."""
    layers: list[nn.Module] = []
    padding = dilation * (kernel - 1) // 2
    for step in [stride] + [1] * (repeats - 1):
        layers += [
            nn.ReLU(),
            nn.Conv2d(channels, channels, kernel, step, padding, dilation, groups=channels, bias=False),
            nn.Conv2d(channels, channels, 1, bias=False),
            batch_norm(channels, affine),
        ]
    return nn.Sequential(*layers)


def max_pool(channels: int, stride: int, affine: bool) -> nn.Module:
    return nn.Sequential(nn.MaxPool2d(3, stride, padding=1), batch_norm(channels, affine))


def average_pool(channels: int, stride: int, affine: bool) -> nn.Module:
    pool = nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)
    return nn.Sequential(pool, batch_norm(channels, affine))


class FactorizedReduce(nn.Module):
    """ReLU, two 1x1 convolutions of stride 2, one of them shifted by a pixel; an odd side gets a pixel of zeros."""

    def __init__(self, inputs: int, channels: int, affine: bool):
        super().__init__()
        self.even = nn.Conv2d(inputs, channels // 2, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(inputs, channels // 2, 1, stride=2, bias=False)
        self.norm = batch_norm(channels, affine)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = shifted = functional.relu(x)
        height, width = x.shape[2:]
        if height % 2 or width % 2:
            shifted = functional.pad(x, (0, width % 2, 0, height % 2))
        return self.norm(torch.cat([self.even(x), self.odd(shifted[:, :, 1:, 1:])], dim=1))


class HalvingPool(nn.Module):
    """The maximum of 3x3 pixels, every second in both axes; of an even size the last reach over the end."""

    def __init__(self):
        super().__init__()
        self.pool = nn.MaxPool2d(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = (size % 2 for size in x.shape[2:])
        return self.pool(functional.pad(x, (width, 1, height, 1), value=-math.inf))


def identity(channels: int, stride: int, affine: bool) -> nn.Module:
    return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels, affine)


class Zero(nn.Module):
    """The operation `none`."""

    def __init__(self, channels: int, stride: int, affine: bool):
        super().__init__()
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


OPERATIONS = {
    "avg_pool_3x3": average_pool,
    "dil_conv_3x3": partial(separable, kernel=3, dilation=2),
    "dil_conv_5x5": partial(separable, kernel=5, dilation=2),
    "identity": identity,
    "max_pool_3x3": max_pool,
    "none": Zero,
    "sep_conv_3x3": partial(separable, kernel=3, repeats=2),
    "sep_conv_5x5": partial(separable, kernel=5, repeats=2),
}


class MixedOp(nn.Module):
    """The weighted sum of all operations on one edge."""

    def __init__(self, channels: int, stride: int, operations: Sequence[str], affine: bool):
        super().__init__()
        self.operations = nn.ModuleList(OPERATIONS[name](channels, stride, affine) for name in operations)

    def forward(self, x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return total(weight * op(x) for weight, op in zip(weights, self.operations, strict=True))


class Cell(nn.Module):
    """Two inputs, nodes that read all nodes before them, and the concatenation of these nodes."""

    def __init__(
        self,
        inputs: tuple[int, int],
        channels: int,
        nodes: int,
        operations: Sequence[str],
        reduction: bool,
        previous_reduction: bool,
        affine: bool,
        early: bool,
        pooled: bool,
    ):
        super().__init__()

        def pointwise(count: int, *before: nn.Module) -> nn.Module:
            conv = nn.Conv2d(count, channels, 1, bias=False)
            return nn.Sequential(*before, nn.ReLU(), conv, batch_norm(channels, affine))

        def halving(count: int) -> nn.Module:
            return pointwise(count, HalvingPool()) if pooled else FactorizedReduce(count, channels, affine)

        halves = [previous_reduction or (early and reduction), early and reduction]
        self.preprocess = nn.ModuleList(
            halving(count) if half else pointwise(count) for count, half in zip(inputs, halves, strict=True)
        )
        # An input of four times the resolution, behind two reductions, is halved twice.
        edge_halves = [reduction and (not early or previous_reduction), reduction and not early]
        self.nodes = nodes
        self.edges = nn.ModuleList(
            MixedOp(channels, 2 if source < 2 and edge_halves[source] else 1, operations, affine)
            for node in range(nodes)
            for source in range(2 + node)
        )

    def forward(self, first: torch.Tensor, second: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        states = [layer(x) for layer, x in zip(self.preprocess, (first, second), strict=True)]
        edges = iter(zip(self.edges, weights, strict=True))
        for _ in range(self.nodes):
            # `states` ends first, so each node takes as many edges as there are nodes before it.
            incoming = [mixed(x, own) for x, (mixed, own) in zip(states, edges, strict=False)]
            states.append(total(incoming))
        return torch.cat(states[2:], dim=1)


class Supernet(nn.Module):
    """Stem, cells, global average pooling, linear classifier; alpha and beta for each group of cells.

    `early` halves the resolution before the operations of reduction cells; `pooled` halves inputs of cells by pools.

    `forward` takes for each group factors of the mixing weights as well, [edges, operations]: binary masks, behind the
    softmax.
    """

    def __init__(
        self,
        channels: int,
        cells: int,
        classes: int,
        operations: Sequence[str],
        nodes: int = 4,
        stem: str = "cifar",
        edge_softmax: str = "node",
        sharing: str = "type",
        affine: bool = False,
        early: bool = False,
        pooled: bool = False,
        image_channels: int = 3,
    ):
        super().__init__()
        self.nodes, self.edge_softmax = nodes, edge_softmax
        reductions = {cells // 3, 2 * cells // 3}

        def conv(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
            layer = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
            return [layer, batch_norm(outputs, affine=True)]

        if stem == "cifar":
            self.stems = nn.ModuleList([nn.Sequential(*conv(image_channels, 3 * channels, 1))])
            inputs, previous_reduction = (3 * channels, 3 * channels), False
        else:
            half = channels // 2
            start = [*conv(image_channels, half, 2), nn.ReLU(), *conv(half, channels, 2)]
            self.stems = nn.ModuleList(
                [nn.Sequential(*start), nn.Sequential(nn.ReLU(), *conv(channels, channels, 2))]
            )
            inputs, previous_reduction = (channels, channels), True
        self.cells = nn.ModuleList()
        for index in range(cells):
            reduction = index in reductions
            channels *= 2 if reduction else 1
            self.cells.append(
                Cell(
                    inputs, channels, nodes, operations, reduction, previous_reduction, affine, early, pooled
                )
            )
            inputs, previous_reduction = (inputs[1], nodes * channels), reduction
        self.classifier = nn.Linear(inputs[1], classes)

        key = {"all": lambda i: 0, "cell": lambda i: i, "type": lambda i: i in reductions}[sharing]
        keys = [key(i) for i in range(cells)]
        self.groups = [list(dict.fromkeys(keys)).index(k) for k in keys]
        shapes = (len(self.cells[0].edges), len(operations)), (len(self.cells[0].edges),)
        self.alpha, self.beta = (
            nn.ParameterList(1e-3 * torch.randn(shape) for _ in set(keys)) for shape in shapes
        )

    def edge_importance(self, beta: torch.Tensor) -> torch.Tensor:
        """Softmax over the incoming edges of each node, or over the whole cell; ones for `none`."""
        if self.edge_softmax == "none":
            return torch.ones_like(beta)
        counts = [2 + n for n in range(self.nodes)] if self.edge_softmax == "node" else [len(beta)]
        return torch.cat([part.softmax(0) for part in beta.split(counts)])

    def forward(self, images: torch.Tensor, masks: Sequence[torch.Tensor] | None = None) -> torch.Tensor:
        weights = [
            a.softmax(1) * self.edge_importance(b)[:, None]
            for a, b in zip(self.alpha, self.beta, strict=True)
        ]
        if masks is not None:
            weights = [w * mask for w, mask in zip(weights, masks, strict=True)]
        first = self.stems[0](images)
        second = self.stems[1](first) if len(self.stems) > 1 else first
        for cell, group in zip(self.cells, self.groups, strict=True):
            first, second = second, cell(first, second, weights[group])
        return self.classifier(second.mean((2, 3)))
