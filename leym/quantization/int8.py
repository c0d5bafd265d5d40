"""int8.

One byte per weight at rest and one scale per output channel, w = q * scale / 127 (the row-wise form of bitsandbytes).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Int8:
    """q: int8 [O, I, kh, kw]; scale: float32 [O], the largest magnitude of each row."""

    q: Tensor
    scale: Tensor

    @classmethod
    def encode(cls, weight: Tensor) -> Int8:
        w = weight.detach().cpu().float()
        scale = w.flatten(1).abs().amax(1)
        unit = torch.where(scale > 0, 127 / scale, 0).view(-1, *[1] * (w.ndim - 1))
        return cls((w * unit).round().to(torch.int8), scale)

    def decode(self, dtype: torch.dtype) -> Tensor:
        rows = (self.scale / 127).view(-1, *[1] * (self.q.ndim - 1))
        return (self.q.float() * rows).to(dtype)

    @property
    def nbytes(self) -> int:
        return self.q.nbytes + self.scale.nbytes


@dataclass(frozen=True)
class Plain:
    """A tensor kept as it is, in one float dtype."""

    value: Tensor

    def decode(self, dtype: torch.dtype) -> Tensor:
        return self.value.to(dtype)

    @property
    def nbytes(self) -> int:
        return self.value.nbytes
