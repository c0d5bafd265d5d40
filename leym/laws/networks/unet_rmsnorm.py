"""UNET_UNITARY_RMSNORM: the U-Net with RMSNorm in place of GroupNorm.

    RMSNorm2d(x) = x / sqrt(mean_{H,W}(x^2) + 1e-6) * w      per universe and channel, over space
    y = UNet(x), with this norm                              2d -> 2d   H   (see `unet.py`)

| Form    | additive, despite the name                                                                |
| Reach   | global, by RMSNorm                                                                        |
| Grid    | height and width divisible by 4                                                           |
| Memory  | none                                                                                      |
| Options | none                                                                                      |
| Source  | Atheria, class `UNetUnitaryRMSNorm` (src/models/unet_unitary_rmsnorm.py); same keys       |
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from leym.laws.networks.unet import UNet


class RMSNorm2d(nn.Module):
    """Divides each channel by its root mean square over the grid, in float32 whatever the dtype of its input."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x [B, C, H, W] and return float32."""
        x = x.float()
        mean_square = x.square().mean(dim=(2, 3), keepdim=True)
        return x * torch.rsqrt(mean_square + 1e-6) * self.weight[:, None, None]


class UNetRMSNorm(UNet):
    """Maps x, float [B, 2d, H, W], to y, float [B, 2d, H, W], H and W divisible by 4."""

    norm = RMSNorm2d
