"""NF4: four bits per weight at rest, in the exact bytes of bitsandbytes (blocks of 64, no double quantisation).

    absmax_b = max |w| over the 64 weights of block b    float32
    w        ≈ absmax_b * level[index]                   index: 4 bits, one of the 16 levels of NormalFloat4

Source: Dettmers et al. 2023, "QLoRA", arXiv 2305.14314, appendix E.

Only two ops of bitsandbytes are used, `quantize_4bit` and `dequantize_4bit`, and always on flat tensors. Its layers and
its shaped calls are avoided because of these defects in 0.50:

- On AVX-512 CPUs a shaped tensor whose last dimension is a multiple of 16 but not of the block size is decoded with
  wrong scales, silently. An odd last dimension starts a C++ compiler at run time. Flat calls have neither defect.
- `Linear4bit` repacks its weights in the first forward pass on CPUs with AVX512-BF16: some shapes fail an assertion,
  and a state dict saved afterwards is damaged. Moving such a layer to CUDA by `.to` damages its weights too.

Double quantisation would save less than 6 % of the bytes and nest one state in another, so it is off.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from leym.laws.own_codes import NF4_LEVELS

BLOCK = 64  # weights per scale; bitsandbytes' default
LEVELS = torch.from_numpy(NF4_LEVELS)  # float32 [16], ascending
ZERO = 7  # index of the level 0


@cache
def ops() -> Any:
    """Return the ops of bitsandbytes, which its import registers.

    It is imported when the first weight is encoded or decoded, because it brings torch's compiler along: more than
    half of the seconds that the start of a worker takes.
    """
    # Silences the import's warning that products with packed weights are not fused on this CPU: ours are decoded first.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    import bitsandbytes  # noqa: F401

    return torch.ops.bitsandbytes


@dataclass(frozen=True)
class NF4:
    """An encoded weight.

    Attributes:
        packed: uint8 [ceil(n / 2), 1], two indices per byte, the first in the high nibble.
        absmax: float32 [ceil(n / 64)].
        shape: (O, I, kh, kw) of the weight.
    """

    packed: Tensor
    absmax: Tensor
    shape: tuple[int, ...]

    @classmethod
    def encode(cls, weight: Tensor) -> NF4:
        """Quantise a float weight [O, I, kh, kw] on the CPU, so that all workers hold the same bytes.

        The weight is flattened as (O, kh, kw, I), so that the 64 weights of a block are input channels.
        """
        flat = weight.detach().cpu().float().permute(0, 2, 3, 1).reshape(-1).contiguous()
        packed, absmax = ops().quantize_4bit(flat, BLOCK, "nf4", torch.uint8)
        return cls(packed, absmax, tuple(weight.shape))

    @classmethod
    def from_indices(cls, indices: Tensor, absmax: Tensor, shape: tuple[int, ...]) -> NF4:
        """Pack chosen levels.

        Args:
            indices: Index of the level of every weight, integers in [0, 16), flat in the order of `encode`.
            absmax: Scale of every block, float32 [ceil(n / 64)].
            shape: (O, I, kh, kw) of the weight.
        """
        # bitsandbytes pads an odd number of weights with one of value 0
        even = nn.functional.pad(indices.to(torch.uint8), (0, indices.numel() % 2), value=ZERO)
        return cls((even[::2] << 4 | even[1::2])[:, None].contiguous(), absmax.float(), tuple(shape))

    @property
    def indices(self) -> Tensor:
        """Index of the level of every weight, uint8 [n], flat in the order of `encode`."""
        both = torch.stack([self.packed.view(-1) >> 4, self.packed.view(-1) & 15], dim=-1)
        return both.view(-1)[: prod(self.shape)]

    def decode(self, dtype: torch.dtype) -> Tensor:
        """Return the weight [O, I, kh, kw] in channels-last memory.

        Decodes on the CPU, so that the values are the same for every device.
        """
        o, i, h, w = self.shape
        flat: Tensor = ops().dequantize_4bit(self.packed, self.absmax, BLOCK, "nf4", (o * h * w * i,), dtype)
        return flat.view(o, h, w, i).permute(0, 3, 1, 2)

    @property
    def nbytes(self) -> int:
        """Bytes at rest."""
        return self.packed.nbytes + self.absmax.nbytes
