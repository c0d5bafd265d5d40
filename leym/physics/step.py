"""One step of Ley M (the Cartesian engine of the Atheria project).

    y    = f(Re psi, Im psi)                    the learned network
    dU   = y            additive form
           y * psi      diagonal form: complex, per channel
    phi  = psi + dU - gamma psi
    psi' = phi / (sqrt(sum_c |phi_c|^2) + 1e-9)  per cell, over the channels only

The state is kept real: x = [Re psi_0 … Re psi_(d-1), Im psi_0 … Im psi_(d-1)], float32 [B, 2d, H, W].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

EPSILON = 1e-9


def step(network: nn.Module, form: str, x: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor]:
    """One step of every universe of a batch.

    x: float32 [B, 2d, H, W]; gamma: float32 [B, 1, 1, 1], per step.
    Returns the next state and, as bool [B], whether all of it is finite.
    """
    y = network(x).float()
    if form == "diagonal":
        (a, b), (re, im) = y.chunk(2, dim=1), x.chunk(2, dim=1)
        y = torch.cat([a * re - b * im, a * im + b * re], dim=1)
    phi = x + y - gamma * x
    norm = phi.square().sum(dim=1, keepdim=True).sqrt()
    finite = torch.isfinite(norm).flatten(1).all(dim=1)
    return phi / (norm + EPSILON), finite


def to_real(psi: Tensor) -> Tensor:
    """complex64 [B, H, W, d] -> float32 [B, 2d, H, W]."""
    return torch.cat([psi.real, psi.imag], dim=-1).permute(0, 3, 1, 2).float()


def to_complex(x: Tensor) -> Tensor:
    """float32 [B, 2d, H, W] -> complex64 [B, H, W, d]."""
    re, im = x.float().permute(0, 2, 3, 1).chunk(2, dim=-1)
    return torch.complex(re.contiguous(), im.contiguous())
