"""Encodes the weights of a law for storage, and decodes them for computing.

Quantisation saves memory at rest, not arithmetic. A law that computes holds dense tensors in the operand dtype of its
device: at thousands of cells per step, decoding once costs nothing, and fused 4-bit products would only be slower.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from leym.laws.bundle import Bundle
from leym.quantization.codes import own_codes
from leym.quantization.int8 import Int8
from leym.quantization.nf4 import NF4
from leym.quantization.plain import Plain
from leym.quantization.policy import format_of, role_of

Encoded = NF4 | Int8 | Plain


@dataclass(frozen=True)
class Layer:
    """One weight of a law at one precision; `format` and `role` are explained in `policy.py`."""

    key: str
    role: str
    format: str
    shape: tuple[int, ...]
    encoded: Encoded


@dataclass(frozen=True)
class QuantizedLaw:
    """A law at rest, in the formats of its precision."""

    bundle: Bundle
    precision: str
    layers: tuple[Layer, ...]

    @property
    def bytes_at_rest(self) -> int:
        """Bytes of all encoded weights."""
        return sum(layer.encoded.nbytes for layer in self.layers)

    @property
    def backbone_bytes_per_parameter(self) -> float:
        """Bytes per weight of the backbone, scales included."""
        backbone = [layer for layer in self.layers if layer.role == "backbone"]
        return sum(layer.encoded.nbytes for layer in backbone) / sum(prod(layer.shape) for layer in backbone)

    def decode(self, operand_dtype: torch.dtype) -> dict[str, Tensor]:
        """Return key -> dense weight to compute with.

        Matrices and their biases have the operand dtype, norms and constants float32. Convolution weights are in
        channels-last memory.
        """
        matrices = {layer.key.removesuffix(".weight") for layer in self.layers if len(layer.shape) > 1}
        weights = {}
        for layer in self.layers:
            belongs_to_matrix = layer.role != "frozen" and layer.key.rpartition(".")[0] in matrices
            weight = layer.encoded.decode(operand_dtype if belongs_to_matrix else torch.float32)
            if weight.ndim == 4:
                weight = weight.contiguous(memory_format=torch.channels_last)
            weights[layer.key] = weight
        return weights


def quantize_law(
    bundle: Bundle, weights: dict[str, Tensor], precision: str, operand_dtype: torch.dtype
) -> QuantizedLaw:
    """Encode the weights of a law by the policy of a precision, or take its own codes of this precision.

    Args:
        bundle: The law.
        weights: Its weights, float32.
        precision: "nf4", "int8", "bf16" or "fp32".
        operand_dtype: The dtype that the device multiplies in, which the format "16" stands for.

    Raises:
        Problem: 422, its own codes do not fit the law, or do not decode to the weights that they were made for.
    """
    layers, codes = [], own_codes(bundle, precision)
    for key, weight in weights.items():
        role = role_of(bundle.manifest, key, tuple(weight.shape))
        chosen = format_of(bundle.manifest, precision, key, role)
        code = codes.get(key, weight)
        encoded = code if isinstance(code, NF4) else encode(chosen, code, operand_dtype)
        layers.append(Layer(key, role, chosen, tuple(weight.shape), encoded))
    return QuantizedLaw(bundle, precision, tuple(layers))


def encode(chosen: str, weight: Tensor, operand_dtype: torch.dtype) -> Encoded:
    """Encode one weight in the chosen format; "16" stands for `operand_dtype`."""
    match chosen:
        case "nf4":
            return NF4.encode(weight)
        case "int8":
            return Int8.encode(weight)
        case "bf16":
            return Plain(weight.to(torch.bfloat16))
        case "16":
            return Plain(weight.to(operand_dtype))
        case _:
            return Plain(weight.float())
