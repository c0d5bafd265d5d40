"""UNET_UNITARIA: a U-Net whose output is a d x d matrix per cell.

    Y = outc(k2)                                     c -> d * d  H       (row by row; k2 as in `unet.py`)
    A = (Y - Y^T) / 2                                real and antisymmetric
    update = A psi                                   computed by the step, not by the network

| Form    | antisymmetric                                                                          |
| Reach   | global, by GroupNorm                                                                   |
| Grid    | height and width divisible by 4                                                        |
| Memory  | none                                                                                   |
| Options | none                                                                                   |
| Source  | Atheria, November 2025: class `UNetUnitary` (src/models/unet_unitary.py) between the   |
|         | commits 39663c2 and 3f32607; same keys                                                 |

Its GroupNorm chose the number of groups by another rule than the later U-Nets, see `group_count` below.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import group_norm

from leym.laws.networks.unet import UNet


def group_count(channels: int) -> int:
    """Return channels // 8 (at least 1) if that divides the channels, else the first of 4, 2, 1 that does."""
    groups = max(1, channels // 8)
    return next(g for g in (groups, 4, 2, 1) if channels % g == 0)


class HistoricNorm(nn.GroupNorm):
    """GroupNorm that computes in float32, with the number of groups of November 2025."""

    def __init__(self, channels: int):
        super().__init__(group_count(channels), channels, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x [B, C, H, W] and return float32."""
        return group_norm(x.float(), self.num_groups, self.weight, self.bias, self.eps)


class UNetAntisymmetric(UNet):
    """Maps x, float [B, 2d, H, W], to Y, float [B, d * d, H, W], H and W divisible by 4."""

    norm = HistoricNorm

    def __init__(self, d_state: int, hidden_channels: int):
        super().__init__(d_state, hidden_channels, outputs=d_state * d_state)
