"""What a universe does over time: activity, memory, and how a small difference grows (M9, M10).

Static measures alone are unsound: a law can keep its textures and all but stop (reference case of the suite).
psi: complex64 [..., T, H, W, d], frames at equal distances.
"""

from __future__ import annotations

from math import e

import torch
from torch import Tensor

from leym.physics.structure import TINY, alignment


def activity(psi: Tensor) -> Tensor:
    """1 - mean over cells and neighbouring frames of |<psi_t, psi_t+1>|: [..., T, H, W, d] -> [...]."""
    return 1 - alignment(psi[..., :-1, :, :, :], psi[..., 1:, :, :, :]).mean((-3, -2, -1))


def autocorrelation(psi: Tensor, lags: tuple[int, ...]) -> Tensor:
    """A(tau) = mean over cells and pairs of frames tau apart of |<psi_t, psi_t+tau>|: [..., len(lags)]."""
    t = psi.shape[-4]
    pairs = [(psi[..., : t - lag, :, :, :], psi[..., lag:, :, :, :]) for lag in lags]
    return torch.stack([alignment(a, b).mean((-3, -2, -1)) for a, b in pairs], dim=-1)


def decay_time(curve: Tensor, floor: Tensor, every: float) -> Tensor:
    """Time in steps at which (A(tau) - floor) / (1 - floor) first falls to 1/e; curve [..., T] at tau = 0, every, ….

    Linear between the samples; the last sampled time where it never falls that far.
    """
    left = ((curve - floor[..., None]) / (1 - floor[..., None]).clamp_min(TINY)).flatten(0, -2)
    times = []
    for row in left:
        below = (row <= 1 / e).nonzero()
        if not len(below) or below[0] == 0:
            times.append(0.0 if len(below) else (len(row) - 1) * every)
            continue
        i = int(below[0])
        times.append(every * (i - 1 + float((row[i - 1] - 1 / e) / (row[i - 1] - row[i]))))
    return torch.tensor(times).view(curve.shape[:-1])


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Root mean square over cells of |psi'_x - psi_x|: complex [..., H, W, d] -> float64 [...]."""
    return (b - a).abs().double().square().sum(-1).mean((-2, -1)).sqrt()


def normalised(psi: Tensor) -> Tensor:
    return psi / psi.abs().square().sum(-1, keepdim=True).sqrt().clamp_min(TINY)


def rescaled(psi: Tensor, other: Tensor, size: float) -> Tensor:
    """A state on the line from psi to `other` at distance `size`, back on the manifold of unit cells.

    complex64 [..., H, W, d]. Normalising after the step changes the distance in second order only, but does so without
    fail: the caller measures the distance anew.
    """
    scale = size / distance(psi, other).clamp_min(TINY)
    return normalised(psi + (other - psi) * scale.float()[..., None, None, None])


def perturbed(psi: Tensor, size: float, seed: int) -> Tensor:
    """psi with Haar-random noise added in every cell, normalised per cell, at distance about `size` from psi."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(psi.shape, dtype=psi.dtype, generator=generator)
    whole = normalised(psi)
    along = (whole.conj() * noise).sum(-1, keepdim=True)
    return rescaled(whole, whole + normalised(noise - whole * along.real) * size, size)


def exponent(before: Tensor, after: Tensor, steps: int) -> Tensor:
    """Benettin: lambda = mean over the rounds of log(D_after / D_before) / steps, per step: [R, ...] -> [...].

    Bagnoli, Rechtman, Ruffo (1992), cond-mat/9811159, for cellular automata. A perturbation that dies out altogether
    counts as one of 10^-12.
    """
    return ((after.clamp_min(TINY) / before.clamp_min(TINY)).log() / steps).mean(0)
