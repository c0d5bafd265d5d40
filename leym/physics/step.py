"""One step of Ley M (the Cartesian engine of the Atheria project).

    y    = f(Re psi, Im psi)                    the learned network
    dU   = y            additive form
           y * psi      diagonal form: complex, per channel
           A psi        antisymmetric form: A = (Y - Y^T) / 2, Y the d x d real matrix of the cell that y holds
    phi  = psi + dU - gamma psi
    psi' = phi / (sqrt(sum_c |phi_c|^2) + 1e-9)  per cell, over the channels only

The state is kept real: x = [Re psi_0 … Re psi_(d-1), Im psi_0 … Im psi_(d-1)], float32 [B, 2d, H, W].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

EPSILON = 1e-9


def step(
    network: nn.Module,
    form: str,
    x: Tensor,
    gamma: Tensor,
    memory: Tensor | None = None,
    uniform: Tensor | None = None,
) -> tuple[Tensor, Tensor | None, Tensor]:
    """One step of every universe of a batch.

    x: float32 [B, 2d, H, W]; gamma: float32 [B, 1, 1, 1], per step; memory: float32 [B, …] of a network that has one;
    uniform: float32 [B, 1, H, W] in [0, 1) for a network that draws.
    Returns the next state, the next memory and, as bool [B], whether all of both is finite.
    """
    inputs = [tensor for tensor in (x, memory, uniform) if tensor is not None]
    y, memory = network(*inputs) if memory is not None else (network(*inputs), None)
    y = update(form, y.float(), x)
    phi = x + y - gamma * x
    norm = phi.square().sum(dim=1, keepdim=True).sqrt()
    finite = torch.isfinite(norm).flatten(1).all(dim=1)
    if memory is not None:
        finite = finite & torch.isfinite(memory).flatten(1).all(dim=1)
    return phi / (norm + EPSILON), memory, finite


def update(form: str, y: Tensor, x: Tensor) -> Tensor:
    """dU of a form: float32 [B, 2d, H, W], from the network's output and the state."""
    if form == "additive":
        return y
    re, im = x.chunk(2, dim=1)
    if form == "diagonal":
        a, b = y.chunk(2, dim=1)
        return torch.cat([a * re - b * im, a * im + b * re], dim=1)
    d = re.shape[1]
    matrix = y.unflatten(1, (d, d))
    matrix = (matrix - matrix.transpose(1, 2)) / 2
    return torch.cat([(matrix * part[:, None]).sum(dim=2) for part in (re, im)], dim=1)


def to_real(psi: Tensor) -> Tensor:
    """complex64 [B, H, W, d] -> float32 [B, 2d, H, W]."""
    return torch.cat([psi.real, psi.imag], dim=-1).permute(0, 3, 1, 2).float()


def to_complex(x: Tensor) -> Tensor:
    """float32 [B, 2d, H, W] -> complex64 [B, H, W, d]."""
    re, im = x.float().permute(0, 2, 3, 1).chunk(2, dim=-1)
    return torch.complex(re.contiguous(), im.contiguous())
