"""A wrapper that gates the kernels of any layer with learned binary masks.

Another layer is masked too after a line in `KERNELS`, which may stand in your own file.

>>> KERNELS[keras.layers.SeparableConv2D]
('depthwise_kernel', 'pointwise_kernel')
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from hmnas_tf.layers.binary_mask import binarize
from hmnas_tf.layers.masked_kernel import add_real_mask, gated
from hmnas_tf.settings.paper import MASK_THRESHOLD


@keras.saving.register_keras_serializable(package="hmnas_tf")
class WeightPrice(keras.Regularizer):
    """The training loss that the surviving weights of a real mask cost: `price` times their number.

    Args:
        price: in units of the loss, for each weight.
        threshold: tau.
    """

    def __init__(self, price: float, threshold: float):
        self.price = price
        self.threshold = threshold

    def __call__(self, x):
        return self.price * ops.sum(binarize(x, self.threshold))

    def get_config(self):
        return {"price": self.price, "threshold": self.threshold}


@keras.saving.register_keras_serializable(package="hmnas_tf")
class MaskedLayer(layers.Wrapper):
    """A layer with w * M in the place of each of its kernels, M = H(M^r - tau) (paper §3.3, Eqs. 3 and 4).

    The paper masks kernels and nothing else: biases and scales stay as they are. A fresh mask is all ones, so the
    layer is what it was until somebody trains its `real_masks`. Where M is 0 the gradient of the kernel is 0, so that
    its weights can be trained further without bringing a masked one back.

    With price 0, as in the paper, only weights go that do harm. A price lets those go that are worth less to the loss
    (DECISION, ours).

    Args:
        layer: of a class in `KERNELS`, built or not.
        threshold: tau.
        price: training loss, in the loss's unit, that a weight must save to stay.

    Inputs and outputs: those of the layer.

    Raises:
        ValueError: if `KERNELS` has no line for the layer's class, the layer is masked already, or a kernel is not a
            variable of floats, as with LoRA or after quantization.

    >>> dense = MaskedLayer(keras.layers.Dense(2, kernel_initializer="ones"))
    >>> dense(np.ones((1, 3))).numpy().tolist()
    [[3.0, 3.0]]
    >>> _ = dense.real_masks[0].assign([[1, 0], [1, 0], [1, 1]])
    >>> dense(np.ones((1, 3))).numpy().tolist()
    [[3.0, 1.0]]
    """

    def __init__(
        self, layer: keras.Layer, *, threshold: float = MASK_THRESHOLD, price: float = 0.0, **kwargs
    ):
        if isinstance(layer, MaskedLayer):
            raise ValueError(
                f"layer {layer.name!r}: expected a layer without masks, received one that has them already."
            )
        if not kernel_names(layer):
            raise ValueError(
                f"layer={layer!r}: expected a layer of a class in KERNELS ({', '.join(k.__name__ for k in KERNELS)}), "
                f"received {type(layer).__name__}: add its class and the names of its kernels to KERNELS."
            )
        require_plain_kernels(layer)
        super().__init__(layer, **{"name": layer.name, "dtype": layer.dtype_policy} | kwargs)
        self.threshold = threshold
        self.price = price
        self.supports_masking = layer.supports_masking
        self.real_masks: list[keras.Variable] = []

    def build(self, input_shape):
        super().build(input_shape)
        regularizer = WeightPrice(self.price, self.threshold) if self.price else None
        self.real_masks = [
            add_real_mask(self, kernel.shape, f"{name}_real_mask", regularizer=regularizer)
            for name, kernel in zip(kernel_names(self.layer), self._kernels(), strict=True)
        ]

    def _kernels(self) -> list[keras.Variable]:
        require_plain_kernels(self.layer)
        return [getattr(self.layer, name) for name in kernel_names(self.layer)]

    def call(self, inputs):
        masked = [
            (kernel, gated(kernel, mask, self.threshold))
            for kernel, mask in zip(self._kernels(), self.real_masks, strict=True)
        ]
        gates = {id(kernel) for kernel, _ in masked}
        others = [*self.layer.variables, *self.layer.metrics_variables]
        others = [variable for variable in others if id(variable) not in gates]
        # Inside, the layer reads w * M where it says w. The scope keeps what the layer itself has changed and added.
        with keras.StatelessScope(masked) as scope:
            outside = scope.original_scope
            for variable in others if outside else ():  # a scope does not look into the one around it
                if (value := outside.get_current_value(variable)) is not None:
                    scope.add_update((variable, value))
            scope.collect_losses = outside is None or outside.collect_losses
            outputs = self.layer(inputs)
        for variable in others:
            changed = scope.get_current_value(variable)
            if changed is not None:
                variable.assign(changed)
        for loss in scope.losses:  # in another scope the layer that has added a loss says so itself
            (self if outside is None else outside).add_loss(loss)
        return outputs

    def compute_mask(self, inputs, previous_mask):
        return self.layer.compute_mask(inputs, previous_mask)

    def binary_masks(self) -> list[np.ndarray]:
        """Returns M of each kernel as a bool array of its shape."""
        return [ops.convert_to_numpy(binarize(mask, self.threshold)) > 0 for mask in self.real_masks]

    def masked_values(self) -> list[np.ndarray]:
        """Returns the values of the layer's variables, masked weights as exact zeros."""
        masks = dict(zip(map(id, self._kernels()), self.binary_masks(), strict=True))
        values = [(variable, ops.convert_to_numpy(variable)) for variable in self.layer.variables]
        return [np.where(masks.get(id(variable), True), value, 0) for variable, value in values]

    def get_config(self):
        return super().get_config() | {"threshold": self.threshold, "price": self.price}


def require_plain_kernels(layer: keras.Layer) -> None:
    """Refuses a layer whose kernels are computed from others, or not numbers that a mask could multiply.

    Raises:
        ValueError: naming the layer.
    """
    kernels = [getattr(layer, name) for name in kernel_names(layer)] if layer.built else []
    plain = all(isinstance(kernel, keras.Variable) and "float" in kernel.dtype for kernel in kernels)
    if getattr(layer, "lora_rank", None) or layer.dtype_policy.quantization_mode or not plain:
        raise ValueError(
            f"layer {layer.name!r}: expected kernels that are variables of floats, received results of LoRA or "
            "quantization: mask the layer before them, and strip the masks before you quantize."
        )


def kernel_names(layer: Any) -> tuple[str, ...]:
    """Returns the attributes of a layer that are kernels, () if its class and its ancestors have no line."""
    return next((names for kind, names in KERNELS.items() if isinstance(layer, kind)), ())


KERNELS: dict[type, tuple[str, ...]] = {  # which variables of a layer are masked
    layers.Conv1D: ("kernel",),
    layers.Conv1DTranspose: ("kernel",),
    layers.Conv2D: ("kernel",),
    layers.Conv2DTranspose: ("kernel",),
    layers.Conv3D: ("kernel",),
    layers.Conv3DTranspose: ("kernel",),
    layers.Dense: ("kernel",),
    layers.DepthwiseConv1D: ("kernel",),
    layers.DepthwiseConv2D: ("kernel",),
    layers.EinsumDense: ("kernel",),
    layers.SeparableConv1D: ("depthwise_kernel", "pointwise_kernel"),
    layers.SeparableConv2D: ("depthwise_kernel", "pointwise_kernel"),
}
