"""LENIA: continuous cellular automata with ring-shaped neighbourhoods, such as the glider Orbium.

    u = K * x                                        2d -> 2d, each real channel by its own kernel, which wraps around
    y = dt (2 exp(-(u - mu)^2 / (2 sigma^2)) - 1)    growth, per cell and channel

    K(r) ~ b_i exp(4 - 1 / (q (1 - q)))              r = distance / R, q = B r - i in ring i of B, sum of K = 1

With the constraint {"box": [0, 1]}, gamma = 0 and d = 1, Im psi a second world beside Re psi: Orbium has R = 13,
mu = 0.15, sigma = 0.015, dt = 0.1 and one ring.

| Form    | additive                                                                                        |
| Reach   | R cells; R is `hidden_channels`                                                                 |
| Grid    | any                                                                                             |
| Memory  | none                                                                                            |
| Options | `padding` (periodic)                                                                            |
| Source  | B. W.-C. Chan, "Lenia: Biology of Artificial Life", Complex Systems 28, 251 (2019), 1812.05433  |

K, mu, sigma and dt are weights, so that they can be learned; `ring_kernel` gives the kernels of the paper.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from leym.laws.networks.blocks import Conv

MU, SIGMA, DT = 0.15, 0.015, 0.1  # of Orbium


def ring_kernel(radius: int, peaks: Sequence[float] = (1.0,)) -> Tensor:
    """Return a kernel of concentric rings, float32 [2 R + 1, 2 R + 1], of sum 1.

    Args:
        radius: R, in cells.
        peaks: heights b_i of the rings, from the inside out.
    """
    axis = torch.arange(-radius, radius + 1, dtype=torch.float64) / radius
    at = torch.hypot(axis[:, None], axis[None]) * len(peaks)
    ring, q = at.floor().long(), at % 1
    bump = torch.where((q > 0) & (ring < len(peaks)), (4 - 1 / (q * (1 - q)).clamp_min(1e-3)).exp(), 0.0)
    kernel = bump * torch.tensor(peaks, dtype=torch.float64)[ring.clamp_max(len(peaks) - 1)]
    return (kernel / kernel.sum()).float()


class Lenia(nn.Module):
    """Maps x, float [B, 2d, H, W], to y, float [B, 2d, H, W]."""

    def __init__(self, d_state: int, hidden_channels: int, *, padding: str = "periodic"):
        super().__init__()
        if padding != "periodic":
            raise ValueError(f"padding = {padding!r}: it must be periodic")
        channels, self.radius = 2 * d_state, hidden_channels
        self.kernel = Conv(channels, channels, 2 * self.radius + 1, groups=channels, bias=False)
        self.kernel.weight.data = ring_kernel(self.radius).repeat(channels, 1, 1, 1)
        self.mu, self.sigma = (nn.Parameter(torch.full((channels,), value)) for value in (MU, SIGMA))
        self.dt = nn.Parameter(torch.full((1,), DT))

    def forward(self, x: Tensor) -> Tensor:
        """Compute y = f(x)."""
        rows, columns = (torch.arange(-self.radius, n + self.radius, device=x.device) % n for n in x.shape[2:])
        u = self.kernel(x[:, :, rows][..., columns]).float()  # a grid may be smaller than the kernel
        away = (u - self.mu.view(-1, 1, 1)) / self.sigma.view(-1, 1, 1)
        return self.dt * (2 * torch.exp(-away.square() / 2) - 1)
