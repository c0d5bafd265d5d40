"""NCA: a neural cellular automaton, local and small.

    p = perceive(x)                                  2d -> 8d: four 3x3 filters on every channel
    y = m * (W2 elu(W1 p + b1) + b2)                 8d -> h -> 2d, per cell

    Filters, fixed:    identity, Sobel along x / 8, Sobel along y / 8, Laplacian / 16
    Filters, learned:  any four per channel
    m = 1, or with an update rate below 1: m = [uniform < rate], one draw per cell and step

| Form    | additive                                                                     |
| Reach   | 1 cell                                                                       |
| Grid    | any                                                                          |
| Memory  | none                                                                         |
| Options | `perception` (fixed, learned), `padding` (zero, periodic), `update_rate`     |
| Source  | Mordvintsev et al. 2020, "Growing neural cellular automata", Distill         |

`uniform` comes from the job's own counter-based generator, so that the same seed gives the same universe everywhere.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from leym.laws.networks.blocks import Conv
from leym.laws.networks.per_cell import PerCellWeights, pointwise_layers, stencils_by_filter

FILTERS = 4
_IDENTITY = [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
_SOBEL = [[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]
_LAPLACIAN = [[1.0, 2.0, 1.0], [2.0, -12.0, 2.0], [1.0, 2.0, 1.0]]


def fixed_filters() -> Tensor:
    """Return the filters of the fixed perception, float32 [4, 3, 3]."""
    sobel = torch.tensor(_SOBEL) / 8
    return torch.stack([torch.tensor(_IDENTITY), sobel, sobel.T, torch.tensor(_LAPLACIAN) / 16])


class NCA(nn.Module):
    """Maps x, float [B, 2d, H, W], to y, float [B, 2d, H, W]."""

    def __init__(self, d_state: int, hidden_channels: int, *, perception: str, padding: str, update_rate: float):
        super().__init__()
        channels = 2 * d_state
        self.padding_mode = {"zero": "constant", "periodic": "circular"}[padding]
        self.update_rate = update_rate
        self.perceive = nn.Conv2d(channels, FILTERS * channels, 3, groups=channels, bias=False)
        if perception == "fixed":
            self.perceive.weight.data = fixed_filters().repeat(channels, 1, 1)[:, None]
        self.net = nn.Sequential(
            Conv(FILTERS * channels, hidden_channels, 1), nn.ELU(), Conv(hidden_channels, channels, 1)
        )

    def forward(self, x: Tensor, uniform: Tensor | None = None) -> Tensor:
        """Compute y = f(x). With an update rate below 1, `uniform` is float32 [B, 1, H, W] in [0, 1)."""
        p = self.perceive(pad(x, (1, 1, 1, 1), mode=self.padding_mode))
        y: Tensor = self.net(p)
        if uniform is not None:
            y = y.float() * (uniform < self.update_rate)
        return y

    def per_cell_weights(self) -> PerCellWeights:
        """Return the weights for fused kernels."""
        filters = stencils_by_filter(self.perceive.weight, self.perceive.in_channels)
        return PerCellWeights(filters, self.padding_mode == "circular", pointwise_layers(self.net), self.update_rate)
