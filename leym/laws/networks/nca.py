"""NCA: a neural cellular automaton (Mordvintsev et al. 2020, "Growing neural cellular automata"), local and small.

    p = perceive(x)                            2d -> 8d: four 3x3 filters on every channel
    y = m * (W2 elu(W1 p + b1) + b2)           8d -> h -> 2d per cell

fixed perception: identity, Sobel gradients along x and y (each / 8), Laplacian (/ 16); learned: any four filters.
m = 1, or with an update rate below 1 a mask drawn per cell and step from the job's own counter-based generator.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from leym.laws.networks.blocks import Conv
from leym.laws.networks.per_cell import Cells, layers_of

FILTERS = 4
_IDENTITY = [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
_SOBEL = [[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]
_LAPLACIAN = [[1.0, 2.0, 1.0], [2.0, -12.0, 2.0], [1.0, 2.0, 1.0]]


def fixed_filters() -> Tensor:
    """float32 [4, 3, 3]."""
    sobel = torch.tensor(_SOBEL) / 8
    return torch.stack([torch.tensor(_IDENTITY), sobel, sobel.T, torch.tensor(_LAPLACIAN) / 16])


class NCA(nn.Module):
    """x: float [B, 2d, H, W], uniform: float32 [B, 1, H, W] in [0, 1) if the rate is below 1 -> y: [B, 2d, H, W]."""

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
        p = self.perceive(F.pad(x, (1, 1, 1, 1), mode=self.padding_mode))
        y: Tensor = self.net(p)
        if uniform is not None:
            y = y.float() * (uniform < self.update_rate)
        return y

    def cells(self) -> Cells:
        filters = self.perceive.weight.unflatten(0, (-1, FILTERS)).squeeze(2).transpose(0, 1)
        return Cells(filters, self.padding_mode == "circular", layers_of(self.net), self.update_rate)
