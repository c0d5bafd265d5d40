"""The step equation of Ley M (the Cartesian engine of the Atheria project).

    y   = f(Re ψ, Im ψ)                          the learned network f
    ΔU  = y            additive form
          y · ψ        diagonal form: complex product, per channel
          A ψ          antisymmetric form: A = (Y - Yᵀ) / 2 per cell, Y the real d × d matrix that y holds
    φ   = ψ + ΔU - γ ψ                           γ: damping per step
    ψ'  = m C(φ)                                 C: the constraint, m: the living mask, where the law has one

    C(φ) = φ / (sqrt(Σ_c |φ_c|²) + 1e-9)         "unit": per cell, over its d channels
           φ                                     "none"
           min(max(φ, low), high)                {"box": [low, high]}: every real channel

    m = [max a(ψ) > above] [max a(C(φ)) > above]     a: one real channel; max over 3 x 3 cells

The mask is that of A. Mordvintsev, E. Randazzo, E. Niklasson, M. Levin, "Growing neural cellular automata", Distill
(2020), doi 10.23915/distill.00023. Its neighbourhood has the boundary of the law.

The state is stored as real numbers: x = [Re ψ_0 … Re ψ_(d-1), Im ψ_0 … Im ψ_(d-1)], float32 [B, 2d, H, W].
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, pad

from leym.physics.constraint import Box, Living

EPSILON = 1e-9


def step(
    network: nn.Module,
    form: str,
    x: Tensor,
    gamma: Tensor,
    memory: Tensor | None = None,
    uniform: Tensor | None = None,
    *,
    constraint: Literal["unit", "none"] | Box = "unit",
    living: Living | None = None,
    periodic: bool = False,
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Advance every universe of a batch by one step.

    Args:
        network: f, called with x, then memory and uniform where given.
        form: "additive", "diagonal" or "antisymmetric".
        x: states, float32 [B, 2d, H, W].
        gamma: damping per step, float32 [B, 1, 1, 1].
        memory: of a recurrent network, float32 [B, …].
        uniform: random numbers in [0, 1) of a stochastic network, float32 [B, 1, H, W].
        constraint: what holds φ in bounds.
        living: the living mask of the law; None for none.
        periodic: True if the mask's neighbourhood wraps around the edges; otherwise nothing lives beyond them.

    Returns:
        The next states, the next memory, and a bool [B] that is True where both are finite everywhere. φ decides,
        before the constraint: a number whose square is beyond float32 counts as infinite.
    """
    inputs = [tensor for tensor in (x, memory, uniform) if tensor is not None]
    y, memory = network(*inputs) if memory is not None else (network(*inputs), None)
    y = update(form, y.float(), x)
    phi = x + y - gamma * x  # y holds ΔU
    norm = phi.square().sum(dim=1, keepdim=True).sqrt()
    finite = torch.isfinite(norm).flatten(1).all(dim=1)
    if memory is not None:
        finite = finite & torch.isfinite(memory).flatten(1).all(dim=1)
    after = phi / (norm + EPSILON) if constraint == "unit" else constrain(constraint, phi)
    if living is not None:
        after = torch.where(alive(living, x, periodic) & alive(living, after, periodic), after, 0.0)
    return after, memory, finite


def constrain(constraint: Literal["unit", "none"] | Box, phi: Tensor) -> Tensor:
    """Return C(φ), the state that a constraint makes of φ: float32 [B, 2d, H, W] each."""
    if constraint == "unit":
        return phi / (phi.square().sum(dim=1, keepdim=True).sqrt() + EPSILON)
    if constraint == "none":
        return phi
    return phi.clamp(*constraint.box)


def alive(living: Living, x: Tensor, periodic: bool) -> Tensor:
    """Return which cells have a living cell among themselves and their eight neighbours: bool [B, 1, H, W].

    Args:
        living: the channel that says how alive a cell is, and the value that it must exceed.
        x: states, float32 [B, 2d, H, W].
        periodic: True if the grid wraps around; otherwise there are no cells beyond its edges.
    """
    level = x[:, living.channel : living.channel + 1]
    if periodic:
        level = pad(level, (1, 1, 1, 1), mode="circular")
    return max_pool2d(level, 3, stride=1, padding=0 if periodic else 1) > living.above


def update(form: str, y: Tensor, x: Tensor) -> Tensor:
    """Return ΔU of a form from the network's output y and the states x: float32 [B, 2d, H, W].

    y has 2d channels, or d² in the antisymmetric form.
    """
    if form == "additive":
        return y
    re, im = x.chunk(2, dim=1)
    if form == "diagonal":
        a, b = y.chunk(2, dim=1)
        return torch.cat([a * re - b * im, a * im + b * re], dim=1)
    d = re.shape[1]
    matrix = torch.unflatten(y, 1, (d, d))
    matrix = (matrix - matrix.transpose(1, 2)) / 2
    return torch.cat([(matrix * part[:, None]).sum(dim=2) for part in (re, im)], dim=1)


def to_real(psi: Tensor) -> Tensor:
    """Convert states from complex64 [B, H, W, d] to float32 [B, 2d, H, W]."""
    return torch.cat([psi.real, psi.imag], dim=-1).permute(0, 3, 1, 2).float()


def to_complex(x: Tensor) -> Tensor:
    """Convert states from float32 [B, 2d, H, W] to complex64 [B, H, W, d]."""
    return torch.complex(*x.float().permute(0, 2, 3, 1).chunk(2, dim=-1)).contiguous()
