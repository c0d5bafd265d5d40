"""Spatial structure of one frame: channel entropy, pair coherence, spectrum (M1 to M4 of the suite).

psi is complex64 [..., H, W, d], normalised per cell or not. A cell with sum_c |psi_c|^2 < 10^-12 is empty. Every
function keeps the leading dimensions, so frames and members are never mixed. A global phase changes nothing here.
"""

from __future__ import annotations

from math import log

import torch
from torch import Tensor

TINY = 1e-12


def channel_power(psi: Tensor) -> Tensor:
    """Return the share of each channel, p_c = |psi_c|^2 / sum_k |psi_k|^2, 0 in empty cells: float32 [..., H, W, d]."""
    p = psi.real.square() + psi.imag.square()
    return p / p.sum(-1, keepdim=True).clamp_min(TINY)


def alignment(a: Tensor, b: Tensor) -> Tensor:
    """Return the alignment r = |<a, b>| / (|a| |b|) per cell, in [0, 1]: float32 [..., H, W].

    1 for two empty cells, which are equal; 0 for an empty cell and another.
    """
    inner = (a.conj() * b).sum(-1).abs()
    in_a, in_b = a.abs().square().sum(-1), b.abs().square().sum(-1)
    found = (inner / (in_a * in_b).sqrt().clamp_min(TINY)).clamp(max=1.0)
    return torch.where((in_a < TINY) & (in_b < TINY), 1.0, found)


def entropy_field(psi: Tensor) -> Tensor:
    """Return the Shannon entropy S = -sum_c p_c log p_c / log d per cell, in [0, 1]: float32 [..., H, W]."""
    p = channel_power(psi)
    d = p.shape[-1]
    return -torch.special.xlogy(p, p).sum(-1) / log(d) if d > 1 else torch.zeros_like(p[..., 0])


def pair_coherence(psi: Tensor) -> Tensor:
    """Average the alignment r over all pairs of 4-neighbours inside the grid, without wrapping: [...].

    Every pair has equal weight. The field `coherence` of `leym.physics.observables` instead averages over the
    neighbours of each cell, so that pairs at the edge of the grid count more in its spatial mean.
    """
    below = alignment(psi[..., :-1, :, :], psi[..., 1:, :, :])
    right = alignment(psi[..., :, :-1, :], psi[..., :, 1:, :])
    return (below.sum((-2, -1)) + right.sum((-2, -1))) / _pairs(psi)


def _pairs(psi: Tensor) -> int:
    h, w = psi.shape[-3:-1]
    return (h - 1) * w + h * (w - 1)


def wavenumbers(h: int, w: int) -> Tensor:
    """Return |k| of every cell of an FFT, in cycles per shorter side: float32 [H, W]."""
    side = min(h, w)
    ky, kx = torch.fft.fftfreq(h, 1 / side), torch.fft.fftfreq(w, 1 / side)
    return torch.hypot(ky[:, None].expand(h, w), kx[None].expand(h, w))


def spectrum(psi: Tensor) -> Tensor:
    """Return the radial energy spectrum E(k): float32 [..., K], one value per integer k up to the corner of the zone.

    E(k) is the sum of sum_c |FFT2 psi_c|^2 / (H W)^2 over all wave vectors whose length rounds to k. By Parseval's
    theorem sum_k E(k) is the mean density. Binning as in jax_cfd's evaluation (Kochkov et al., PNAS 2021).
    """
    h, w, _ = psi.shape[-3:]
    density = torch.fft.fft2(psi, dim=(-3, -2)).abs().square().sum(-1) / (h * w) ** 2
    shells = wavenumbers(h, w).round().long().flatten()
    out = torch.zeros(*density.shape[:-2], int(shells.max()) + 1, dtype=density.dtype)
    return out.index_add_(-1, shells, density.flatten(-2))


def mean_wavenumber(energy: Tensor) -> Tensor:
    """Return <k> = sum_k k E(k) / sum_k E(k), in cycles per shorter side: [..., K] -> [...]."""
    k = torch.arange(energy.shape[-1], dtype=energy.dtype)
    return (k * energy).sum(-1) / energy.sum(-1).clamp_min(TINY)
