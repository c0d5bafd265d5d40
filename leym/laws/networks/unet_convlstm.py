"""UNET_CONVLSTM: the U-Net with a convolutional LSTM at its bottleneck.

    f, i, o, g = conv_gates([x3, h])                 8c -> 16c   H/4     (x1, x2, x3 as in `unet.py`)
    c' = sigmoid(f) c + sigmoid(i) tanh(g)           4c          H/4
    h' = sigmoid(o) tanh(c')                         4c          H/4
    b  = bot(h')                                     4c -> 8c    H/4     (x3 has no other way to the output)
    y  = decode(b, x2, x1)                           8c -> 2d    H

| Form    | additive                                                                     |
| Reach   | global, by GroupNorm                                                         |
| Grid    | height and width divisible by 4                                              |
| Memory  | [h, c], float32 [B, 8c, H/4, W/4], zero at the start                         |
| Options | none                                                                         |
| Source  | Atheria, class `UNetConvLSTM` (src/models/unet_convlstm.py); same keys       |

The memory is part of a universe's state: it has its place in the slot and is stored in every checkpoint.
"""

from __future__ import annotations

import torch
from torch import Tensor

from leym.laws.networks.blocks import Conv, concatenate
from leym.laws.networks.unet import UNet


class UNetConvLSTM(UNet):
    """Maps x, float [B, 2d, H, W], and a memory to y, float [B, 2d, H, W], and the next memory."""

    def __init__(self, d_state: int, hidden_channels: int):
        super().__init__(d_state, hidden_channels)
        self.conv_gates = Conv(8 * hidden_channels, 16 * hidden_channels, 3, padding=1)

    def memory_shape(self, grid: tuple[int, int]) -> tuple[int, int, int]:
        """Return (channels, height, width) of the memory of one universe on a grid (H, W)."""
        return self.conv_gates.in_channels, grid[0] // 4, grid[1] // 4

    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Compute y = f(x, memory) and the next memory; a memory holds h in its first 4c channels, then c."""
        x1, x2, x3 = self.encode(x)
        h, c = memory.chunk(2, dim=1)
        f, i, o, g = self.conv_gates(concatenate(x3, h)).float().chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        return self.decode(self.bot(h), x2, x1), torch.cat([h, c], dim=1)
