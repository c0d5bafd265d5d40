"""NF4: four bits per weight at rest, in the exact bytes of bitsandbytes (block 64, no double quantisation).

bitsandbytes 0.50 decodes shaped tensors wrongly on AVX-512 CPUs when the last dimension is no multiple of the block,
so its two ops are called with flat shapes only. Blocks run along the input channels: a weight is flattened as (O, kh,
kw, I).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import Tensor

# It warns that products with packed weights are not fused on this CPU; ours are decoded once, before any product.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
import bitsandbytes  # noqa: E402, F401  registers torch.ops.bitsandbytes

BLOCK = 64


@dataclass(frozen=True)
class NF4:
    """packed: uint8 [ceil(n / 2), 1]; absmax: float32 [ceil(n / 64)]; shape: of the weight, channels first."""

    packed: Tensor
    absmax: Tensor
    shape: tuple[int, ...]

    @classmethod
    def encode(cls, weight: Tensor) -> NF4:
        """Quantise a float weight [O, I, kh, kw] on the CPU, so that every worker holds the same bytes."""
        flat = weight.detach().cpu().float().permute(0, 2, 3, 1).reshape(-1).contiguous()
        packed, absmax = torch.ops.bitsandbytes.quantize_4bit(flat, BLOCK, "nf4", torch.uint8)
        return cls(packed, absmax, tuple(weight.shape))

    def decode(self, dtype: torch.dtype) -> Tensor:
        """The weight [O, I, kh, kw] in channels-last memory, decoded on the CPU: the same values on every device."""
        o, i, h, w = self.shape
        flat = torch.ops.bitsandbytes.dequantize_4bit(self.packed, self.absmax, BLOCK, "nf4", (o * h * w * i,), dtype)
        return flat.view(o, h, w, i).permute(0, 3, 1, 2)

    @property
    def nbytes(self) -> int:
        return self.packed.nbytes + self.absmax.nbytes
