"""Views of recorded fields: real and imaginary part, gradient, spectrum, and two colourings.

Frames of psi are complex64 [H, W, d]. `leym.contract.catalog.VIEWS` lists the same names with units and formulas.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import tau
from typing import Any

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.float32]
Psi = NDArray[np.complex64]

CELLS = 2**14  # whose channels are float64 at the same time
TINY = 1e-12  # power of an empty cell, and of a wave vector that is rounding
LOWEST = -12.0  # log10 of TINY
SPREAD = 4.0  # standard deviations of a principal component from no colour to full colour


@dataclass(frozen=True)
class Components:
    """Principal components of the real channels of cells.

    Attributes:
        mean: float64 [2d].
        axes: unit vectors, float64 [2d, 3]; 0 for components that the cells do not have.
        sd: standard deviation along each, float64 [3].
    """

    mean: NDArray[np.float64]
    axes: NDArray[np.float64]
    sd: NDArray[np.float64]


def real(psi: Psi) -> Frame:
    """Return Re ψ_c: float32 [H, W, d]."""
    return np.ascontiguousarray(psi.real)


def imag(psi: Psi) -> Frame:
    """Return Im ψ_c: float32 [H, W, d]."""
    return np.ascontiguousarray(psi.imag)


def gradient(psi: Psi) -> Frame:
    """Return (Σ_c |∂ψ_c/∂x|² + |∂ψ_c/∂y|²)^½ per cell, by central differences, one-sided at the edges: [H, W]."""
    down, right = np.gradient(psi, axis=0), np.gradient(psi, axis=1)
    found: Frame = np.sqrt(_power(down) + _power(right))
    return found


def spectrum(psi: Psi) -> Frame:
    """Return log10 Σ_c |FFT2 ψ_c|² / (H W)², at least -12: float32 [H, W], with k = 0 at [H // 2, W // 2]."""
    amplitude = np.fft.fft2(psi, axes=(0, 1)) / (psi.shape[0] * psi.shape[1])
    return np.fft.fftshift(np.maximum(np.log10(np.maximum(_power(amplitude), TINY)), LOWEST)).astype(np.float32)


def hsv(phase: Frame, density: Frame) -> Frame:
    """Return the phase as hue and the density as brightness: red, green, blue in [0, 1], float32 [H, W, 3].

    The hue is phase / 2π (0 is red, 1/3 green, 2/3 blue), the saturation 1, the value min(√density, 1).
    """
    sector = (phase.astype(np.float32)[..., None] * (6 / tau) + np.array([5, 3, 1], np.float32)) % 6
    value = np.minimum(np.sqrt(np.maximum(density, 0, dtype=np.float32)), 1)[..., None]
    colour: Frame = value * (1 - np.clip(np.minimum(sector, 4 - sector), 0, 1))
    return colour


def mean_phase(psi: Psi) -> Frame:
    """Return the circular mean of the phases over the channels, as the field `phase` has it: float32 [H, W]."""
    size = np.sqrt(np.maximum(psi.real**2 + psi.imag**2, TINY**2))
    found: Frame = np.angle((psi / size).mean(-1)).astype(np.float32)
    return found


def density(psi: Psi) -> Frame:
    """Return Σ_c |ψ_c|²: float32 [H, W]."""
    return _power(psi)


def principal_components(frames: Iterable[Psi]) -> Components:
    """Find the three directions of largest variance of the real channels over all cells of all frames.

    The real channels are Re ψ_0, …, Re ψ_(d-1), Im ψ_0, …, Im ψ_(d-1). Of the two unit vectors of a direction, that
    whose largest entry by absolute value (the first of equal ones) is positive is taken. Frames with a value that is
    not finite are left out.
    """
    n, total, products = 0, np.zeros(1), np.zeros((1, 1))
    for psi in frames:
        if np.isfinite(psi).all():
            for cells in _cells(psi):
                n, total, products = n + len(cells), total + cells.sum(0), products + cells.T @ cells
    if not n:
        raise ValueError("no frame with finite values")
    mean = total / n
    variances, vectors = np.linalg.eigh(products / n - np.outer(mean, mean))
    variances, vectors = variances[::-1][:3], vectors[:, ::-1][:, :3]
    signs = np.sign(vectors[np.abs(vectors).argmax(0), np.arange(vectors.shape[1])])
    axes, sd = np.zeros((len(mean), 3)), np.zeros(3)
    axes[:, : vectors.shape[1]], sd[: len(variances)] = vectors * signs, np.sqrt(np.maximum(variances, 0))
    return Components(mean, axes, sd)


def pca(psi: Psi, components: Components) -> Frame:
    """Return the scores of each cell as a colour, 1/2 + score / (4 sd) in [0, 1]: float32 [H, W, 3].

    A component without variance is 1/2 everywhere.
    """
    scores = np.concatenate([(cells - components.mean) @ components.axes for cells in _cells(psi)])
    share = scores / np.where(components.sd > TINY**0.5, SPREAD * components.sd, np.inf)
    return np.clip(0.5 + share, 0, 1).reshape(*psi.shape[:2], 3).astype(np.float32)


def _cells(psi: Psi) -> Iterator[NDArray[np.float64]]:
    """Yield the real channels of the cells, some at a time: float64 [n, 2d]."""
    flat = psi.reshape(-1, psi.shape[-1])
    for first in range(0, len(flat), CELLS):
        some = flat[first : first + CELLS]
        yield np.concatenate([some.real, some.imag], -1, dtype=np.float64)


def _power(z: NDArray[Any]) -> Frame:
    """Return Σ_c |z_c|²: [..., d] -> float32 [...]."""
    power: Frame = (z.real**2 + z.imag**2).sum(-1, dtype=np.float32)
    return power
