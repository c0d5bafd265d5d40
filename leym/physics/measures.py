"""Observables that are not the mean of a field: spectrum, scales, domain walls and vortices of whole states.

Each function takes states x, float32 [B, 2d, H, W], laid out as in `leym.physics.step`, or something computed from
them, and returns float32 [B]. The bits of a universe do not depend on B: sums run over the cells of one universe, and
counts are exact.

S(k) = Σ_c |FFT2 ψ_c|² / (H W)² is the power of the wave vector k. By Parseval's theorem Σ_k S(k) is the mean density.
The FFT takes the grid as periodic, also where the law does not. A state whose variance over the cells,
Σ_(k ≠ 0) S(k), is under 10⁻¹² is uniform: what is left is rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import pi, tau

import torch
from torch import Tensor

UNIFORM = 1e-12  # variance of a state that differs by rounding only


def per_universe(function: Callable[..., Tensor], field: Tensor) -> Tensor:
    """Reduce a field [..., H, W] to a number per universe, with bits that do not depend on their number.

    On a CPU, torch splits a reduction to a single number among its threads, but not reductions to several numbers.
    """
    if field.device.type == "cpu" and field.numel() == field.shape[-2] * field.shape[-1]:
        return function(torch.stack([field, field]), (-2, -1))[0]
    return function(field, (-2, -1))


def structure_factor(x: Tensor) -> Tensor:
    """Return S(k) with 0 at k = 0: [B, 2d, H, W] -> [B, H, W].

    A CPU transforms one universe at a time, because its routines round differently for other numbers of them.
    """
    if x.device.type != "cpu":
        return _powers(x)
    universes = x.reshape(-1, *x.shape[-3:])
    return torch.stack([_powers(universe) for universe in universes]).view(*x.shape[:-3], *x.shape[-2:])


def correlation_length(power: Tensor) -> Tensor:
    """Return ξ = Σ S / (2π Σ |k| S) in cells, k in cycles per cell, at most max(H, W) / π.

    A plane wave of period p has ξ = p / 2π; independent cells have ξ = 0.42. The limit is that of the longest wave that
    half fits on the grid, and the value of a uniform state.

    Args:
        power: `structure_factor`, [B, H, W].
    """
    h, w = power.shape[-2:]
    total = per_universe(torch.sum, power)
    moment = per_universe(torch.sum, power * _wavenumbers(h, w, power.device))
    longest = max(h, w) / pi
    found = (total / (tau * moment.clamp_min(torch.finfo(torch.float32).tiny))).clamp(max=longest)
    return torch.where(total < UNIFORM, longest, found)


def peak_wavenumber(power: Tensor) -> Tensor:
    """Return the k >= 1 with the largest E(k), the first of equal ones, in cycles per shorter side; 0 if uniform.

    E(k) is the sum of S over the wave vectors whose length rounds to k, as in `leym.physics.structure.spectrum`; those
    shorter than 1/2, which an oblong grid has, count for k = 1.

    Args:
        power: `structure_factor`, [B, H, W].
    """
    order, lengths = _shells(*power.shape[-2:], power.device)
    energy = torch.segment_reduce(power.flatten(-2).movedim(-1, 0)[order], "sum", lengths=lengths, axis=0, unsafe=True)
    peak = (energy.argmax(0) + 1).float()
    return torch.where(per_universe(torch.sum, power) < UNIFORM, 0.0, peak)


def multiscale_complexity(x: Tensor) -> Tensor:
    """Return Σ_(k ≥ 1) (O_k - O_(k+1)) / 2 / O_0, in [0, 1/2].

    Layer 0 is ψ, layer k + 1 holds the means of 2 × 2 cells of layer k, O_k is the mean of Σ_c |ψ_c|² over the cells of
    layer k. Odd last rows and columns are cut off. This is the multiscale structural complexity of Bagrov et al., PNAS
    117, 30241 (2020), doi 10.1073/pnas.2004976117, whose overlap of a layer with its coarse layer is O_(k+1) here,
    without its finest scale: of independent cells, that scale alone has three quarters of the sum. Uniform states have
    0, independent cells about 1/8, structures much larger than a cell up to 1/2.
    """
    whole = per_universe(torch.mean, _density(x))
    layer, total = x, torch.zeros_like(whole)
    for scale in range(min(x.shape[-2:]).bit_length() - 1):
        h, w = (side // 2 * 2 for side in layer.shape[-2:])
        layer = layer[..., :h, :w]
        rows = layer[..., ::2, :] + layer[..., 1::2, :]
        coarse = (rows[..., ::2] + rows[..., 1::2]) / 4
        if scale:
            finer, coarser = (per_universe(torch.mean, _density(one)) for one in (layer, coarse))
            total = total + (finer - coarser).clamp_min(0.0) / 2
        layer = coarse
    return total / whole.clamp_min(UNIFORM)


def domain_walls(x: Tensor) -> Tensor:
    """Return the share of the pairs of 4-neighbours inside the grid whose strongest channels differ.

    The strongest channel of a cell is argmax_c |ψ_c|², the first of equal ones. With d = 1 it is the sign of Re ψ, as
    in the basis (1 + ψ, 1 - ψ) of `leym.physics.reference`.
    """
    label = x[..., 0, :, :] < 0 if x.shape[-3] == 2 else _strongest(x)
    h, w = label.shape[-2:]
    unlike = (label[..., 1:, :] != label[..., :-1, :]).sum((-2, -1))
    unlike = unlike + (label[..., 1:] != label[..., :-1]).sum((-2, -1))
    found: Tensor = unlike.float() / ((h - 1) * w + h * (w - 1))
    return found


def windings(phase: Tensor, sign: int) -> Tensor:
    """Count the plaquettes of 2 × 2 cells inside the grid around which a phase winds by sign · 2π.

    The way around a plaquette goes from the direction of x to that of y, as the angle of the intervention `vortex`
    does: a vortex of charge n adds n. Differences of phases lie in [-π, π]. Real states, whose phases are 0 and π, give
    no meaningful count.

    Args:
        phase: radians, [B, H, W].
        sign: 1 or -1.
    """
    right, down = (_wrapped(phase.diff(dim=axis)) for axis in (-1, -2))
    total = right[..., :-1, :] + down[..., 1:] - right[..., 1:, :] - down[..., :-1]
    found: Tensor = ((total / tau).round() == sign).sum((-2, -1)).float()
    return found


def _powers(x: Tensor) -> Tensor:
    """Return S of states [..., 2d, H, W]."""
    re, im = x.chunk(2, -3)
    amplitude = torch.fft.fft2(torch.complex(re.contiguous(), im.contiguous())) / (x.shape[-2] * x.shape[-1])
    power: Tensor = (amplitude.real.square() + amplitude.imag.square()).sum(-3)
    power[..., 0, 0] = 0.0
    return power


def _strongest(x: Tensor) -> Tensor:
    """Return argmax_c |ψ_c|²: int16 [..., H, W]. One channel after the other is ten times as fast as torch's argmax."""
    re, im = x.chunk(2, -3)
    power = re.square().addcmul_(im, im)
    most, label = power[..., 0, :, :], torch.zeros_like(power[..., 0, :, :], dtype=torch.int16)
    for channel in range(1, power.shape[-3]):
        label.masked_fill_(power[..., channel, :, :] > most, channel)
        most = torch.maximum(most, power[..., channel, :, :])
    return label


def _density(x: Tensor) -> Tensor:
    return x.square().sum(-3)


def _wrapped(angle: Tensor) -> Tensor:
    return angle - tau * (angle / tau).round()


@lru_cache(16)
def _wavenumbers(h: int, w: int, device: torch.device) -> Tensor:
    """Return |k| of every wave vector in cycles per cell: float32 [H, W]."""
    ky, kx = (torch.fft.fftfreq(side, device=device) for side in (h, w))
    return torch.hypot(ky[:, None], kx[None])


@lru_cache(16)
def _shells(h: int, w: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the flat indices of the wave vectors by rising k >= 1, int64 [H W - 1], and how many each k has."""
    side = min(h, w)
    ky, kx = (torch.fft.fftfreq(n, 1 / side) for n in (h, w))
    k = torch.hypot(ky[:, None].expand(h, w), kx[None]).round().long().flatten()[1:].clamp_min(1)
    return (1 + k.argsort(stable=True)).to(device), torch.bincount(k)[1:].to(device)
