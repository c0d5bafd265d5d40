"""UNET_UNITARIA, November 2025: a U-Net whose output is a d x d matrix per cell.

    A = (Y - Y^T) / 2        Y = outc's d * d channels, row by row: real and antisymmetric
    dU = A psi

Its GroupNorm took the first of 4, 2, 1 that divides n where n // 8 does not.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from leym.laws.networks.unet import UNet


def groups_of(channels: int) -> int:
    groups = max(1, channels // 8)
    return next(g for g in (groups, 4, 2, 1) if channels % g == 0)


class OldNorm(nn.GroupNorm):
    """GroupNorm in float32, with the groups of that time."""

    def __init__(self, channels: int):
        super().__init__(groups_of(channels), channels, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x.float(), self.num_groups, self.weight, self.bias, self.eps)


class UNetAntisymmetric(UNet):
    """x: float [B, 2d, H, W], H and W divisible by 4 -> Y: [B, d * d, H, W]."""

    norm = OldNorm

    def __init__(self, d_state: int, hidden_channels: int):
        super().__init__(d_state, hidden_channels, outputs=d_state * d_state)
