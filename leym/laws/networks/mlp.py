"""MLP: every cell is its own map; no neighbourhood, so no spatial structure can emerge.

y = W3 elu(W2 elu(W1 x + b1) + b2) + b3        per cell
"""

from __future__ import annotations

from torch import Tensor, nn

from leym.laws.networks.blocks import Conv
from leym.laws.networks.per_cell import Cells, layers_of


class MLP(nn.Module):
    """x: float [B, 2d, H, W] -> y: [B, 2d, H, W]."""

    def __init__(self, d_state: int, hidden_channels: int):
        super().__init__()
        d, h = d_state, hidden_channels
        self.net = nn.Sequential(Conv(2 * d, h, 1), nn.ELU(), Conv(h, h, 1), nn.ELU(), Conv(h, 2 * d, 1))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x)
        return y

    def cells(self) -> Cells:
        return Cells(None, False, layers_of(self.net))
