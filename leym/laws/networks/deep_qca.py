"""DEEP_QCA: each cell sees the sum of its eight neighbours, per channel; no centre, no direction.

    n = sum of x over the 8 neighbours (zero outside the grid)
    y = W3 elu(W2 elu(W1 [n repeated 8 times] + b1) + b2) + b3

Checkpoints hold the frozen stencil (all ones, centre zero) eight times per channel, which gives eight identical maps.
Folded, one map is kept per channel and the first layer is W'[h, j] = sum_k W1[h, 8j + k]: the same function, an eighth
of that layer's work.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from leym.laws.networks.blocks import Conv
from leym.laws.networks.per_cell import Cells, layers_of

MAPS = 8  # identical neighbour sums per channel in a checkpoint


class DeepQCA(nn.Module):
    """x: float [B, 2d, H, W] -> y: [B, 2d, H, W]."""

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
        y: Tensor = self.processing_net(self.conv_neighbors(x))
        return y

    def cells(self) -> Cells:
        channels = self.conv_neighbors.in_channels
        filters = self.conv_neighbors.weight.unflatten(0, (channels, -1)).squeeze(2).transpose(0, 1)
        return Cells(filters, False, layers_of(self.processing_net))

    def folded(self) -> DeepQCA:
        """The same function with one map per channel, or this network itself if its maps are not identical."""
        stencils = self.conv_neighbors.weight.unflatten(0, (-1, MAPS))
        if not torch.equal(stencils, stencils[:, :1].expand_as(stencils)):
            return self
        first = self.processing_net[0]
        assert isinstance(first, Conv)
        small = DeepQCA(stencils.shape[0] // 2, first.out_channels, maps=1).requires_grad_(False)
        summed = first.weight.float().unflatten(1, (-1, MAPS)).sum(2).to(first.weight.dtype)
        weights = {**self.state_dict(), "conv_neighbors.weight": stencils[:, 0], "processing_net.0.weight": summed}
        small.load_state_dict(weights, strict=True, assign=True)
        return small
