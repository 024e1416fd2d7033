"""Public Keras layers: learned masks, mixed operations, cells; they work in any Keras 3 model (see docs/layers.md)."""

from hmnas_tf.console.keras_settings import require_tensorflow
from hmnas_tf.layers.batch_norm import BatchNorm
from hmnas_tf.layers.binary_mask import binarize
from hmnas_tf.layers.cell import Cell
from hmnas_tf.layers.factorized_reduce import FactorizedReduce
from hmnas_tf.layers.masked_cell import MaskedCell
from hmnas_tf.layers.masked_conv2d import MaskedConv2D
from hmnas_tf.layers.masked_depthwise_conv2d import MaskedDepthwiseConv2D
from hmnas_tf.layers.masked_layer import KERNELS, MaskedLayer
from hmnas_tf.layers.masked_pointwise import MaskedPointwise
from hmnas_tf.layers.masking import mask_weights, set_trainable, strip, weight_density
from hmnas_tf.layers.mixed_operation import MixedOperation
from hmnas_tf.layers.multi_level_encoding import MultiLevelEncoding
from hmnas_tf.layers.operations import OPERATIONS
from hmnas_tf.layers.relu_pointwise_norm import ReluPointwiseNorm
from hmnas_tf.layers.stem import Stem

__all__ = [
    "KERNELS",
    "OPERATIONS",
    "BatchNorm",
    "Cell",
    "FactorizedReduce",
    "MaskedCell",
    "MaskedConv2D",
    "MaskedDepthwiseConv2D",
    "MaskedLayer",
    "MaskedPointwise",
    "MixedOperation",
    "MultiLevelEncoding",
    "ReluPointwiseNorm",
    "Stem",
    "binarize",
    "mask_weights",
    "set_trainable",
    "strip",
    "weight_density",
]

require_tensorflow()
