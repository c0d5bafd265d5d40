"""MLP: every cell changes by itself.

    y = W3 elu(W2 elu(W1 x + b1) + b2) + b3          2d -> h -> h -> 2d, per cell

| Form    | additive                                                          |
| Reach   | none: cells do not interact, so no spatial structure can emerge   |
| Grid    | any                                                               |
| Memory  | none                                                              |
| Options | none                                                              |
| Source  | Atheria, class `MLP` (src/models/mlp.py); same keys               |
"""

from __future__ import annotations

from torch import Tensor, nn

from leym.laws.networks.blocks import Conv
from leym.laws.networks.per_cell import PerCellWeights, pointwise_layers


class MLP(nn.Module):
    """Maps x, float [B, 2d, H, W], to y, float [B, 2d, H, W]."""

    def __init__(self, d_state: int, hidden_channels: int):
        super().__init__()
        d, h = d_state, hidden_channels
        self.net = nn.Sequential(Conv(2 * d, h, 1), nn.ELU(), Conv(h, h, 1), nn.ELU(), Conv(h, 2 * d, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Compute y = f(x)."""
        y: Tensor = self.net(x)
        return y

    def per_cell_weights(self) -> PerCellWeights:
        """Return the weights for fused kernels."""
        return PerCellWeights(None, False, pointwise_layers(self.net))
