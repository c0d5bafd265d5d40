"""Dynamics of a universe: memory, and the growth of a small difference (M9, M10).

Static measures alone are unsound: a law can keep its textures and nearly stop. Unless stated otherwise psi is
complex64 [..., T, H, W, d], T frames at equal intervals, and an alignment is |<a, b>| / (|a| |b|) of two cells.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from leym.physics.constraint import Box
from leym.physics.structure import TINY, alignment


def autocorrelation(psi: Tensor, lags: tuple[int, ...]) -> Tensor:
    """Return A(tau), the mean alignment of psi_t and psi_(t+tau) over cells and t: [..., len(lags)], lags in frames."""
    t = psi.shape[-4]
    pairs = [(psi[..., : t - lag, :, :, :], psi[..., lag:, :, :, :]) for lag in lags]
    return torch.stack([alignment(a, b).mean((-3, -2, -1)) for a, b in pairs], dim=-1)


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the root mean square over cells of |b_x - a_x|: complex64 [..., H, W, d] -> float64 [...]."""
    return (b - a).abs().double().square().sum(-1).mean((-2, -1)).sqrt()


def normalised(psi: Tensor) -> Tensor:
    """Return psi with every cell divided by its norm: complex64 [..., H, W, d]."""
    return psi / psi.abs().square().sum(-1, keepdim=True).sqrt().clamp_min(TINY)


def projected(psi: Tensor, constraint: Literal["unit", "none"] | Box) -> Tensor:
    """Return psi brought to where a law's states are: normalised per cell, or clipped to its box, or as it is."""
    if constraint == "unit":
        return normalised(psi)
    return psi if constraint == "none" else torch.view_as_complex(torch.view_as_real(psi).clamp(*constraint.box))


def rescaled(psi: Tensor, other: Tensor, size: float, constraint: Literal["unit", "none"] | Box = "unit") -> Tensor:
    """Return the state on the line from psi to `other` at distance `size`, brought to where the law's states are.

    Normalising changes the distance, in second order, and a box may shorten it: measure the distance again where it
    must be exact.

    Args:
        psi: complex64 [..., H, W, d], a state under the constraint.
        other: same shape, another one.
        size: distance as in `distance`.
        constraint: what holds the law's states in bounds.
    """
    scale = size / distance(psi, other).clamp_min(TINY)
    return projected(psi + (other - psi) * scale.float()[..., None, None, None], constraint)


def perturbed(psi: Tensor, size: float, seed: int, constraint: Literal["unit", "none"] | Box = "unit") -> Tensor:
    """Return psi plus random noise at a distance of about `size`, as a state under the constraint.

    "unit": Haar-random noise in every cell, orthogonal to it, since only that moves a cell on its sphere. Otherwise
    normal noise in every cell that is not empty: what a law has emptied stays empty.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(psi.shape, dtype=psi.dtype, generator=generator)
    if constraint != "unit":
        return rescaled(psi, psi + noise * (psi != 0).any(-1, keepdim=True) * size, size, constraint)
    whole = normalised(psi)
    along = (whole.conj() * noise).sum(-1, keepdim=True)
    return rescaled(whole, whole + normalised(noise - whole * along.real) * size, size)


def exponent(before: Tensor, after: Tensor, steps: int) -> Tensor:
    """Return the largest Lyapunov exponent per step by Benettin's method: float64 [R, ...] -> [...].

    lambda = mean over R rounds of log(D_after / D_before) / steps (for cellular automata: Bagnoli, Rechtman, Ruffo
    (1992), cond-mat/9811159). A distance of 0 counts as 10^-12.

    Args:
        before: distance of two universes at the beginning of each round.
        after: distance at the end of each round.
        steps: steps per round.
    """
    return ((after.clamp_min(TINY) / before.clamp_min(TINY)).log() / steps).mean(0)
