"""INT8: eight bits per weight at rest, and one scale per output channel.

    scale_o = max |w_o|                  float32, over the weights of output channel o
    q       = round(127 w_o / scale_o)   int8
    w_o     ≈ q scale_o / 127

This is the row-wise form of bitsandbytes, in plain torch. bitsandbytes' own `Linear8bitLt` is not used: it casts
activations to float16 and changes its state in the first call, which a compiled graph then sees as two versions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Int8:
    """An encoded weight. q: int8 [O, I, kh, kw]; scale: float32 [O]."""

    q: Tensor
    scale: Tensor

    @classmethod
    def encode(cls, weight: Tensor) -> Int8:
        """Quantise a float weight [O, I, kh, kw] on the CPU."""
        w = weight.detach().cpu().float()
        scale = w.flatten(1).abs().amax(1)
        factor = torch.where(scale > 0, 127 / scale, 0).view(-1, *[1] * (w.ndim - 1))
        return cls((w * factor).round().to(torch.int8), scale)

    def decode(self, dtype: torch.dtype) -> Tensor:
        """Return the weight [O, I, kh, kw] in a float dtype."""
        rows = (self.scale / 127).view(-1, *[1] * (self.q.ndim - 1))
        return (self.q.float() * rows).to(dtype)

    @property
    def nbytes(self) -> int:
        """Bytes at rest."""
        return self.q.nbytes + self.scale.nbytes
