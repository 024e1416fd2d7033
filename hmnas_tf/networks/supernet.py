"""The supernet: every candidate architecture at once (paper §3.1, §3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from hmnas_tf.layers.binary_mask import living_channels
from hmnas_tf.layers.cell import Cell
from hmnas_tf.layers.learning import WEIGHTS, is_fixed
from hmnas_tf.layers.masked_kernel import MaskedKernel, add_real_mask
from hmnas_tf.layers.multi_level_encoding import MultiLevelEncoding
from hmnas_tf.layers.stem import Stem
from hmnas_tf.settings.paper import MASK_THRESHOLD
from hmnas_tf.space.topology import STEMS, Topology, sharing_groups


class Supernet(keras.Model):
    """A stem, a stack of cells of mixed operations, global average pooling and a linear classifier.

    It is a network and nothing else: stages train it from outside. Its variables fall into `network_weights`,
    `architecture_parameters`, `real_masks` and `batch_statistics`; every stage trains one of the first three groups.

    Args:
        topology: cells, channels, nodes and candidate operations.
        num_classes: outputs of the classifier.
        edge_softmax: `node` (Eq. 2), `dag`, or `none` for DARTS' single-level encoding.
        cell_sharing: which cells share alpha, beta and their masks: `type`, `all` or `cell`.
        affine: whether batch normalizations inside cells learn a scale and an offset.
        threshold: tau of all masks.
        renormalize: see `MultiLevelEncoding`.
        recompute: see `MixedOperation`.
        width_masks: give each cell and each stem a real mask of its channels, for searches with a budget.

    Raises:
        ValueError: if there are width masks, and channels pass operations by or an operation cannot be narrowed.

    Input: [batch, height, width, channels], normalised images. Output: logits [batch, num_classes], float32.
    """

    def __init__(
        self,
        topology: Topology,
        num_classes: int,
        *,
        edge_softmax: str = "node",
        cell_sharing: str = "type",
        affine: bool = False,
        threshold: float = MASK_THRESHOLD,
        renormalize: bool = False,
        recompute: bool = False,
        width_masks: bool = False,
        **kwargs,
    ):
        super().__init__(name="supernet", **kwargs)
        self.topology = topology
        self.num_classes = num_classes
        self.groups = sharing_groups(topology.plans, cell_sharing)
        self.encodings = [
            MultiLevelEncoding(
                topology.nodes,
                len(topology.operations),
                edge_softmax=edge_softmax,
                threshold=threshold,
                renormalize=renormalize,
                bypass=topology.partial_channels > 1,
                name=f"encoding_{group}",
            )
            for group in range(max(self.groups) + 1)
        ]
        self.stems = make_stems(topology, threshold)
        self.cells = [
            Cell(
                plan.channels,
                nodes=topology.nodes,
                operations=topology.operations,
                reduction=plan.reduction,
                previous_reduction=plan.previous_reduction,
                reduce_in=topology.reduce_in,
                partial_channels=topology.partial_channels,
                affine=affine,
                threshold=threshold,
                recompute=recompute,
                name=f"cell_{plan.index}",
            )
            for plan in topology.plans
        ]
        self.pool = keras.layers.GlobalAveragePooling2D(data_format="channels_last")
        self.classifier = keras.layers.Dense(num_classes, dtype="float32", name="classifier")
        self.threshold = threshold
        self.width_masks: list[keras.Variable] = []  # of the cells, then of the stems
        if width_masks:
            self._require_narrowing()
            channels = {str(plan.index): plan.channels for plan in topology.plans}
            channels |= {stem.name: stem.filters[-1] for stem in self.stems}
            self.width_masks = [
                add_real_mask(self, (number,), f"width_{name}_mask", aggregation="only_first_replica")
                for name, number in channels.items()
            ]

    def build(self, input_shape):
        """Builds every layer from the shape of the images, without tracing anything."""
        self.image_shape = tuple(input_shape[1:])
        first = second = input_shape
        for stem in self.stems:
            stem.build(second)
            first, second = (second, stem.output_shape_for(second))
        first = second if len(self.stems) == 1 else first
        for cell in self.cells:
            cell.build(first, second)
            first, second = second, cell.output_shape_for(second)
        self.classifier.build((second[0], second[-1]))

    def call(self, images, training=None):
        weights = [encoding.mixing_weights() for encoding in self.encodings]
        first = second = images
        for index, stem in enumerate(self.stems, len(self.cells)):
            y = stem(second, training=training)
            first, second = second, y * ops.cast(self.width(index), y.dtype) if self.width_masks else y
        first = second if len(self.stems) == 1 else first
        fixed = (is_fixed(WEIGHTS),) * 2  # before the first cell there is no architecture
        for index, (cell, group) in enumerate(zip(self.cells, self.groups, strict=True)):
            own = {"width": self.width(index)} if self.width_masks else {}
            y = cell(first, second, weights[group], training=training, fixed=fixed, **own)
            first, second, fixed = second, y, (fixed[1], False)
        return self.classifier(self.pool(second))

    def _require_narrowing(self) -> None:
        if self.topology.partial_channels > 1:
            raise ValueError(
                f"partial_channels={self.topology.partial_channels}: channels that pass operations by cannot be "
                "masked, so there can be no budget: leave it at 1."
            )
        broad = [c.name for mixed in self.cells[0].mixed for c in mixed.candidates if not c.narrows]
        if broad:
            raise ValueError(
                f"operations: {broad[0]!r} does not say that it can be made with fewer channels (`narrows`), so there "
                "can be no budget with it."
            )

    def width(self, index: int) -> Any:
        """Returns which channels of a cell take part, zeros and ones [channels], through which gradients pass.

        Args:
            index: of the cell; those of the stems follow.
        """
        return living_channels(self.width_masks[index], self.threshold)

    def widths(self) -> list[np.ndarray | None]:
        """Returns for each cell, then each stem, the positions of the channels that take part, None for all."""
        if not self.width_masks:
            return [None] * (len(self.cells) + len(self.stems))
        return [np.flatnonzero(ops.convert_to_numpy(self.width(i))) for i in range(len(self.width_masks))]

    def set_activity(self, tables: Sequence[Any] | None = None) -> None:
        """Chooses what graphs that are built from now on compute; see `MixedOperation.set_activity`.

        Args:
            tables: one for each of `encodings`, [edges, operations]; None for everything.
        """
        for cell, group in zip(self.cells, self.groups, strict=True):
            cell.set_activity(None if tables is None else tables[group])

    @property
    def architecture_parameters(self) -> list[keras.Variable]:
        """alpha and beta of every group of cells."""
        return [variable for encoding in self.encodings for variable in encoding.architecture_parameters]

    @property
    def architecture_masks(self) -> list[keras.Variable]:
        """Real masks of operations and edges."""
        return [variable for encoding in self.encodings for variable in encoding.real_masks]

    @property
    def masked_convolutions(self) -> list[MaskedKernel]:
        """All convolutions whose kernels are masked: stem, preprocessing and candidate operations."""
        return [layer for layer in self._flatten_layers() if isinstance(layer, MaskedKernel)]

    @property
    def weight_masks(self) -> list[keras.Variable]:
        """Real masks of the convolution kernels."""
        layers = [layer for part in [*self.stems, *self.cells] for layer in part._flatten_layers()]
        return [mask for layer in layers for mask in getattr(layer, "real_masks", ())]

    @property
    def real_masks(self) -> list[keras.Variable]:
        """All real masks (§3.3)."""
        return self.architecture_masks + self.width_masks + self.weight_masks

    @property
    def without_width_masks(self) -> list[keras.Variable]:
        """All variables that a supernet has with and without width masks."""
        own = {id(variable) for variable in self.width_masks}
        return [variable for variable in self.variables if id(variable) not in own]

    @property
    def network_weights(self) -> list[keras.Variable]:
        """Everything trainable that is neither an architecture parameter nor a mask."""
        others = {id(variable) for variable in self.architecture_parameters + self.real_masks}
        return [variable for variable in self.trainable_variables if id(variable) not in others]

    @property
    def batch_statistics(self) -> list[keras.Variable]:
        """Moving means and variances of the batch normalizations."""
        return list(self.non_trainable_variables)


def make_stems(topology: Topology, threshold: float, channels: Sequence[int] = ()) -> list[Stem]:
    """Returns the stem layers: one whose output both inputs of the first cell read, or one for each input.

    Args:
        topology: says which, and how many channels they put out.
        threshold: tau of the kernels' masks.
        channels: other numbers of channels that they put out, one each; none are those of the topology.
    """
    half = topology.initial_channels // 2
    own = channels or topology.stem_channels
    if not STEMS[topology.stem].reduces:
        return [Stem((own[0],), threshold=threshold, name="stem")]
    return [
        Stem((half, own[0]), strides=2, threshold=threshold, name="stem_0"),
        Stem((own[1],), strides=2, activate_first=True, threshold=threshold, name="stem_1"),
    ]
