"""Objective `statistics`: reach bands of what the fidelity suite measures, without a model to copy.

A band [low, high] of a statistic s adds weight · h(s) with the hinge h(s) = (low - s)₊ + (s - high)₊, divided by the
width of the band or its middle, whichever is larger, so that bands of different statistics count alike. With r(a, b) =
|<a, b>| / (|a| |b|) of two cells and means over cells (and the steps of the rollout for the first):

    activity   1 - mean r(ψ_(t-1), ψ_t)                            M. 9 of the suite at lag 1
    growth     log(|ψ'_K - ψ_K| / |ψ'_0 - ψ_0|) / K                 ψ'_0 = ψ_0 + noise of size `perturbation`: the
               largest Lyapunov exponent over a finite time (Benettin et al. 1980; for cellular automata Bagnoli,
               Rechtman & Ruffo 1992); near 0 lies the edge of chaos
    entropy    -Σ_c p_c log p_c / log d, p_c the share of channel c; of ψ_K
    length     side / (2π mean k), k the wave number weighted by the power spectrum of ψ_K without its mean,
               in cycles per side: a correlation length in cells

Activity is compared with its band by square roots: it is quadratic in the change of a cell, so near 0 it has no slope
that could wake a law up. A law whose y is 0 everywhere stands still all the same; begin with head = "default".

With d > 1, all are invariant under a global phase. Each universe has its own statistics and its own loss.
"""

from __future__ import annotations

from math import log, pi

import numpy as np
import torch
from torch import Tensor

from leym.laws.bundle import Manifest
from leym.physics.reference import reference
from leym.physics.step import constrain
from leym.training.objective_settings import Band, StatisticsSettings
from leym.training.objectives.base import Judgement, Rollout, draw_uniform
from leym.training.objectives.starts import draw_starts

TINY = 1e-12


class StatisticsObjective:
    """Compares statistics of a rollout with bands; the module's docstring has them."""

    truncated = False

    def __init__(self, settings: StatisticsSettings, manifest: Manifest, grid: tuple[int, int]) -> None:
        self._settings, self._d, self._grid = settings, manifest.d_state, grid
        if settings.entropy is not None and manifest.d_state == 1:
            raise ValueError("objective.entropy: a law with d_state = 1 has entropy 0 in every cell")
        if settings.growth is not None and (manifest.stochastic or manifest.architecture_info.memory):
            what = "a random update" if manifest.stochastic else "a memory"
            raise ValueError(f"objective.growth: differences are followed in laws without {what} only")

    def starts(self, n: int, seed: int) -> Tensor:
        """Draw n start states."""
        return draw_starts(self._settings.start, n, self._d, self._grid, seed, self._settings.strength)

    def pool(self, n: int, seed: int) -> Tensor:
        """Draw n start states."""
        return self.starts(n, seed)

    def judge(self, rollout: Rollout) -> Judgement:
        """Compute the loss of a rollout."""
        wanted = self._settings
        found: dict[str, Tensor] = {}
        if wanted.activity is not None:
            pairs = zip(rollout.states, rollout.states[1:], strict=False)
            found["activity"] = torch.stack([1 - alignment(a, b).mean((1, 2)) for a, b in pairs]).mean(0)
        if wanted.growth is not None:
            found["growth"] = self._growth(rollout)
        if wanted.entropy is not None:
            found["entropy"] = entropy(rollout.last)
        if wanted.length is not None:
            found["length"] = correlation_length(rollout.last)
        each = torch.zeros(rollout.last.shape[0], device=rollout.last.device)
        for name, value in found.items():
            each = each + distance_to(getattr(wanted, name), value, root=name == "activity")
        parts = {name: value.mean().detach() for name, value in found.items()}
        return Judgement(each.mean(), each.detach(), parts)

    def _growth(self, rollout: Rollout) -> Tensor:
        start, law = rollout.states[0], rollout.law
        noise = rollout.random.standard_normal(start.shape, dtype=np.float32)
        size = self._settings.perturbation / start.shape[1] ** 0.5
        other = constrain(law.manifest.constraint, start + size * torch.from_numpy(noise).to(start.device))
        before = difference(start, other)
        for _ in range(len(rollout.states) - 1):
            other, _ = law.step(other, None, draw_uniform(law, other, rollout.random))
        after = difference(rollout.last, other)
        return ((after + TINY).log() - (before + TINY).log()) / (2 * (len(rollout.states) - 1))


def difference(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean square of b - a over cells and channels: [B, 2d, H, W] -> [B]."""
    return (b - a).square().mean((1, 2, 3))


def alignment(a: Tensor, b: Tensor) -> Tensor:
    """Return r = |<a, b>| / (|a| |b|) per cell, with gradients also where it is 0: [B, 2d, H, W] -> [B, H, W].

    With d = 1, beside the constant `reference`.
    """
    (ar, ai), (br, bi), constant = a.chunk(2, 1), b.chunk(2, 1), reference(a.shape[1] // 2)
    re, im = (ar * br + ai * bi).sum(1) + constant, (ar * bi - ai * br).sum(1)
    norms = (a.square().sum(1) + constant) * (b.square().sum(1) + constant)
    return ((re.square() + im.square() + TINY) / (norms + TINY)).sqrt()


def entropy(x: Tensor) -> Tensor:
    """Return the mean entropy of the channel shares, in [0, 1]: [B, 2d, H, W] -> [B]."""
    re, im = x.chunk(2, 1)
    power = re.square() + im.square()
    share = power / (power.sum(1, keepdim=True) + TINY)
    return -(share * (share + TINY).log()).sum(1).mean((1, 2)) / log(share.shape[1])


def correlation_length(x: Tensor) -> Tensor:
    """Return side / (2π mean wave number) in cells: [B, 2d, H, W] -> [B]."""
    height, width = x.shape[2:]
    re, im = (part - part.mean((2, 3), keepdim=True) for part in x.float().chunk(2, 1))
    spectrum = torch.fft.fft2(torch.complex(re, im)).abs().square().sum(1)
    ky, kx = (torch.fft.fftfreq(side, device=x.device) for side in (height, width))  # cycles per cell
    k = torch.hypot(ky[:, None], kx[None])
    mean = (k * spectrum).sum((1, 2)) / (spectrum.sum((1, 2)) + TINY)
    length: Tensor = 1 / (2 * pi * mean.clamp_min(1 / (2 * max(height, width))))
    return length


def distance_to(band: Band, value: Tensor, root: bool = False) -> Tensor:
    """Return weight · ((low - s)₊ + (s - high)₊) / scale, of square roots if `root`: [B] -> [B]."""
    low, high = band.low, band.high
    if root:
        low, high, value = max(low, 0.0) ** 0.5, max(high, 0.0) ** 0.5, (value.relu() + TINY).sqrt()
    scale = max(high - low, abs(high + low) / 2, 1e-3)
    return band.weight * ((low - value).relu() + (value - high).relu()) / scale
