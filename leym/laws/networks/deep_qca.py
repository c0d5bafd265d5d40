"""DEEP_QCA: every cell sees only the sum of its eight neighbours, without a centre and without directions.

    n = sum of x over the 8 neighbours                                   2d, zero outside the grid
    y = W3 elu(W2 elu(W1 [n repeated 8 times] + b1) + b2) + b3           16d -> h -> h -> 2d, per cell

| Form    | additive                                                          |
| Reach   | 1 cell                                                            |
| Grid    | any                                                               |
| Memory  | none                                                              |
| Options | none                                                              |
| Source  | Atheria, class `DeepQCA` (src/models/deep_qca.py); same keys      |

Checkpoints hold the frozen stencil (all ones, centre zero) eight times per channel, which gives eight identical maps.
`folded` keeps one map per channel, with W1'[h, j] = sum_k W1[h, 8j + k]: the same function at an eighth of the first
layer's work.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from leym.laws.networks.blocks import Conv
from leym.laws.networks.per_cell import PerCellWeights, pointwise_layers, stencils_by_filter

MAPS = 8  # identical neighbour sums per channel in a checkpoint


class DeepQCA(nn.Module):
    """Maps x, float [B, 2d, H, W], to y, float [B, 2d, H, W]."""

    def __init__(self, d_state: int, hidden_channels: int, *, maps: int = MAPS):
        super().__init__()
        channels, h = 2 * d_state, hidden_channels
        self.conv_neighbors = nn.Conv2d(channels, maps * channels, 3, padding=1, bias=False, groups=channels)
        nn.init.ones_(self.conv_neighbors.weight)
        nn.init.zeros_(self.conv_neighbors.weight[:, :, 1, 1])
        self.processing_net = nn.Sequential(
            Conv(maps * channels, h, 1), nn.ELU(), Conv(h, h, 1), nn.ELU(), Conv(h, channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Compute y = f(x)."""
        y: Tensor = self.processing_net(self.conv_neighbors(x))
        return y

    def per_cell_weights(self) -> PerCellWeights:
        """Return the weights for fused kernels."""
        filters = stencils_by_filter(self.conv_neighbors.weight, self.conv_neighbors.in_channels)
        return PerCellWeights(filters, False, pointwise_layers(self.processing_net))

    def folded(self) -> DeepQCA:
        """Return the same function with one map per channel, or this network if its maps are not identical."""
        stencils = self.conv_neighbors.weight.reshape(-1, MAPS, 1, 3, 3)
        if not torch.equal(stencils, stencils[:, :1].expand_as(stencils)):
            return self
        first = cast(Conv, self.processing_net[0])
        small = DeepQCA(stencils.shape[0] // 2, first.out_channels, maps=1).requires_grad_(False)
        summed = first.weight.float().reshape(first.out_channels, -1, MAPS, 1, 1).sum(2).to(first.weight.dtype)
        weights = {**self.state_dict(), "conv_neighbors.weight": stencils[:, 0], "processing_net.0.weight": summed}
        small.load_state_dict(weights, strict=True, assign=True)
        return small
