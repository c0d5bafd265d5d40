"""Which weight is held in how many bits, and in which dtype it is multiplied.

A weight has a role: encoder (first layer), backbone, head (last layer), vector (norms and biases), frozen (exact
constants). Quantisation saves memory at rest, not arithmetic: resident, every weight is a dense tensor in the operand
dtype of the device.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from leym.laws.bundle import Bundle, Manifest
from leym.quantization.int8 import Int8, Plain
from leym.quantization.nf4 import NF4

Encoded = NF4 | Int8 | Plain

# precision -> role -> format at rest; "16" is the 16-bit float that the device computes well in, or fp32 where it has
# none
POLICY: dict[str, dict[str, str]] = {
    "nf4": {"encoder": "int8", "backbone": "nf4", "head": "16", "vector": "fp32", "frozen": "fp32"},
    "int8": {"encoder": "int8", "backbone": "int8", "head": "int8", "vector": "fp32", "frozen": "fp32"},
    "bf16": {"encoder": "bf16", "backbone": "bf16", "head": "bf16", "vector": "fp32", "frozen": "fp32"},
    "fp32": {"encoder": "fp32", "backbone": "fp32", "head": "fp32", "vector": "fp32", "frozen": "fp32"},
}


def role(manifest: Manifest, key: str, shape: tuple[int, ...]) -> str:
    kind = manifest.kind
    if any(key.startswith(prefix) for prefix in kind.frozen):
        return "frozen"
    if len(shape) <= 1:
        return "vector"
    if kind.encoder and key.startswith(kind.encoder):
        return "encoder"
    return "head" if key.startswith(kind.head) else "backbone"


def format_of(manifest: Manifest, precision: str, key: str, role: str) -> str:
    """The format of a weight at rest. What the law's manifest says of its key (the longest beginning counts) or of its
    role comes before the policy of everyone. Norms, biases and constants follow their role only."""
    own = dict(manifest.policy.get(precision, {}))  # type: ignore[call-overload]
    chosen: str = own.get(role, POLICY[precision][role])
    if role not in ("vector", "frozen"):
        for beginning in sorted(own, key=len):
            if key.startswith(beginning):
                chosen = own[beginning]
    return chosen


@dataclass(frozen=True)
class Layer:
    """One weight of a law at one precision."""

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
        return sum(layer.encoded.nbytes for layer in self.layers)

    @property
    def backbone_bytes_per_parameter(self) -> float:
        backbone = [layer for layer in self.layers if layer.role == "backbone"]
        return sum(layer.encoded.nbytes for layer in backbone) / sum(prod(layer.shape) for layer in backbone)

    def decode(self, operands: torch.dtype) -> dict[str, Tensor]:
        """The dense weights to compute with.

        Matrices in the operand dtype, vectors of a matrix with it, norms in float32.
        """
        matrices = {layer.key.removesuffix(".weight") for layer in self.layers if len(layer.shape) > 1}
        resident = {}
        for layer in self.layers:
            with_matrix = layer.role != "frozen" and layer.key.rpartition(".")[0] in matrices
            weight = layer.encoded.decode(operands if with_matrix else torch.float32)
            if weight.ndim == 4:
                weight = weight.contiguous(memory_format=torch.channels_last)
            resident[layer.key] = weight
        return resident


def quantize_law(bundle: Bundle, weights: dict[str, Tensor], precision: str, sixteen: torch.dtype) -> QuantizedLaw:
    """Encode the float32 weights of a law by the policy of a precision. `sixteen`: what "16" means on this device."""
    layers = []
    for key, weight in weights.items():
        which = role(bundle.manifest, key, tuple(weight.shape))
        form = format_of(bundle.manifest, precision, key, which)
        layers.append(Layer(key, which, form, tuple(weight.shape), encode(form, weight, sixteen)))
    return QuantizedLaw(bundle, precision, tuple(layers))


def encode(form: str, weight: Tensor, sixteen: torch.dtype) -> Encoded:
    """A weight in a format at rest. `sixteen`: what "16" means on this device."""
    match form:
        case "nf4":
            return NF4.encode(weight)
        case "int8":
            return Int8.encode(weight)
        case "bf16":
            return Plain(weight.to(torch.bfloat16))
        case "16":
            return Plain(weight.to(sixteen))
        case _:
            return Plain(weight.float())
