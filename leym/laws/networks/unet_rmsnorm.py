"""UNET_UNITARY_RMSNORM: the U-Net with another norm. Additive, despite the name.

RMSNorm2d(x) = x / sqrt(mean over H, W of x^2 + 1e-6) * w        per sample and channel, over space
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from leym.laws.networks.unet import UNet


class RMSNorm2d(nn.Module):
    """In float32 whatever the dtype of its input. Its statistics are global in space, like GroupNorm's."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        mean_square = x.square().mean(dim=(2, 3), keepdim=True)
        return x * torch.rsqrt(mean_square + 1e-6) * self.weight[:, None, None]


class UNetRMSNorm(UNet):
    """x: float [B, 2d, H, W], H and W divisible by 4 -> y: [B, 2d, H, W]."""

    norm = RMSNorm2d
