"""DEEP_QCA_FIVE_LAYERS: the DEEP_QCA of November 2025, with five layers without biases and a constant drive.

    n = sum of x over the 8 neighbours                            2d, zero outside the grid
    a = W5 elu(W4 elu(W3 elu(W2 elu(W1 [n repeated 8 times]))))   16d -> h -> h -> h -> h -> 8d, per cell
    y = 0.1 mean_k a + M                                          8d -> 2d: real part [4, d], then imaginary part [4, d]

| Form    | additive                                                                                   |
| Reach   | 1 cell                                                                                     |
| Grid    | any                                                                                        |
| Memory  | none                                                                                       |
| Options | none                                                                                       |
| Source  | Atheria, commit 0b919f4 and files such as `PEF_Deep_v3_…_FINAL.pth`; same keys             |

Its trainer had no damping: run it with gamma = 0. It normalised cells by sqrt(sum |psi|^2 + 1e-8), which differs from
the step of Ley M by 5e-9 of a unit cell.
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from leym.laws.networks.blocks import Conv
from leym.laws.networks.per_cell import PerCellWeights, stencils_by_filter

MAPS = 8  # identical neighbour sums per channel in a checkpoint
PARTS = 4  # outputs per channel, which are averaged
SCALE = 0.1


class DeepQCAFiveLayers(nn.Module):
    """Maps x, float [B, 2d, H, W], to y, float [B, 2d, H, W]."""

    def __init__(self, d_state: int, hidden_channels: int, *, maps: int = MAPS):
        super().__init__()
        d, h, channels = d_state, hidden_channels, 2 * d_state
        self.M_bias_real, self.M_bias_imag = (nn.Parameter(torch.zeros(d)) for _ in range(2))
        self.conv_neighbors = nn.Conv2d(channels, maps * channels, 3, padding=1, bias=False, groups=channels)
        nn.init.ones_(self.conv_neighbors.weight)
        nn.init.zeros_(self.conv_neighbors.weight[:, :, 1, 1])
        widths = [maps * channels, h, h, h, h, 2 * PARTS * d]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [Conv(inputs, outputs, 1, bias=False), nn.ELU()]
        self.processing_net = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """Compute y = f(x)."""
        a = self.processing_net(self.conv_neighbors(x)).float()
        d = self.M_bias_real.shape[0]
        y: Tensor = SCALE * a.unflatten(1, (2, PARTS, d)).mean(2).flatten(1, 2) + self._drive().view(-1, 1, 1)
        return y

    def per_cell_weights(self) -> PerCellWeights:
        """Return the weights for fused kernels: the mean of the outputs is part of the last layer."""
        filters = stencils_by_filter(self.conv_neighbors.weight, self.conv_neighbors.in_channels)
        weights = [m.weight.flatten(1) for m in self.processing_net if isinstance(m, Conv)]
        d = self.M_bias_real.shape[0]
        last = weights[-1].float().unflatten(0, (2, PARTS, d)).mean(1).flatten(0, 1) * SCALE
        layers = [(weight, weight.new_zeros(weight.shape[0])) for weight in weights[:-1]]
        return PerCellWeights(filters, False, [*layers, (last, self._drive())])

    def folded(self) -> DeepQCAFiveLayers:
        """Return the same function with one map per channel, or this network if its maps are not identical."""
        stencils = self.conv_neighbors.weight.reshape(-1, MAPS, 1, 3, 3)
        if not torch.equal(stencils, stencils[:, :1].expand_as(stencils)):
            return self
        first = cast(Conv, self.processing_net[0])
        small = DeepQCAFiveLayers(stencils.shape[0] // 2, first.out_channels, maps=1).requires_grad_(False)
        summed = first.weight.float().reshape(first.out_channels, -1, MAPS, 1, 1).sum(2).to(first.weight.dtype)
        weights = {**self.state_dict(), "conv_neighbors.weight": stencils[:, 0], "processing_net.0.weight": summed}
        small.load_state_dict(weights, strict=True, assign=True)
        return small

    def _drive(self) -> Tensor:
        return torch.cat([self.M_bias_real, self.M_bias_imag])
