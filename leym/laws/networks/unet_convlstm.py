"""UNET_CONVLSTM: the U-Net with a memory at its bottleneck (models/unet_convlstm.py of the Atheria project).

    f, i, o, g = conv_gates([x3, h])        8c -> 16c at H/4
    c' = sigmoid(f) c + sigmoid(i) tanh(g)
    h' = sigmoid(o) tanh(c')
    b  = bot(h')                            x3 has no other path

The memory [h, c] is part of a universe's state: of its slot, its checkpoints and its resume. It begins at zero.
"""

from __future__ import annotations

import torch
from torch import Tensor

from leym.laws.networks.blocks import Conv, join
from leym.laws.networks.unet import UNet


class UNetConvLSTM(UNet):
    """x: float [B, 2d, H, W], memory: float32 [B, 8c, H/4, W/4] (h, then c) -> y: [B, 2d, H, W] and the next memory."""

    def __init__(self, d_state: int, hidden_channels: int):
        super().__init__(d_state, hidden_channels)
        self.conv_gates = Conv(8 * hidden_channels, 16 * hidden_channels, 3, padding=1)

    def memory_shape(self, grid: tuple[int, int]) -> tuple[int, int, int]:
        """(channels, height, width) of the memory of one universe."""
        return self.conv_gates.in_channels, grid[0] // 4, grid[1] // 4

    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        x1, x2, x3 = self.encode(x)
        h, c = memory.chunk(2, dim=1)
        f, i, o, g = self.conv_gates(join(x3, h)).float().chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        return self.decode(self.bot(h), x2, x1), torch.cat([h, c], dim=1)
