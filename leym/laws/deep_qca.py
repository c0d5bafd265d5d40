"""DEEP_QCA: each cell sees the sum of its eight neighbours, per channel; no centre, no direction.

    n = sum of x over the 8 neighbours (zero outside the grid)
    y = W3 elu(W2 elu(W1 [n repeated 8 times] + b1) + b2) + b3

Checkpoints hold the frozen stencil (all ones, centre zero) eight times per channel, which gives eight identical maps.
"""

from __future__ import annotations

from torch import Tensor, nn

from leym.laws.blocks import Conv


class DeepQCA(nn.Module):
    """x: float [B, 2d, H, W] -> y: [B, 2d, H, W]."""

    def __init__(self, d_state: int, hidden_channels: int):
        super().__init__()
        d, h = d_state, hidden_channels
        self.conv_neighbors = nn.Conv2d(2 * d, 16 * d, 3, padding=1, bias=False, groups=2 * d)
        self.processing_net = nn.Sequential(Conv(16 * d, h, 1), nn.ELU(), Conv(h, h, 1), nn.ELU(), Conv(h, 2 * d, 1))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.processing_net(self.conv_neighbors(x))
        return y
