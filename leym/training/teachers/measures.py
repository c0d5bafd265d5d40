"""Physical measures that several teachers share. Phases and fields are float [..., H, W]; results are float64 [...].

Grids are tori here unless a function says otherwise; `padding` "zero" leaves out pairs of cells across the edge.
"""

from __future__ import annotations

from math import pi, tau

import torch
from torch import Tensor

from leym.training.teachers.base import Padding
from leym.training.teachers.lattice import CORNERS, EDGES, shifted, sum_shifted

TINY = 1e-12


def wrapped(angle: Tensor) -> Tensor:
    """Return the angle in [-π, π)."""
    return torch.remainder(angle + pi, tau) - pi


def winding(phase: Tensor, padding: Padding) -> Tensor:
    """Return the winding number of every plaquette of 2 × 2 cells: -1, 0 or +1.

    The phase differences around the plaquette, each in [-π, π), add up to 2π times a whole number. On a torus the
    numbers of all plaquettes add up to 0, because every difference occurs twice with opposite signs.

    Args:
        phase: radians, [..., H, W].
        padding: "periodic" counts plaquettes across the edge.

    Returns:
        float64 [..., H, W], or [..., H - 1, W - 1] of padding "zero". Positive is counter-clockwise from column to row
        axis.
    """
    a = phase.double()
    # The same two numbers give each difference in both of its plaquettes, so that rounding cannot break the sum.
    right, down = (wrapped(torch.roll(a, -1, axis) - a) for axis in (-1, -2))
    total = right + torch.roll(down, -1, -1) - torch.roll(right, -1, -2) - down
    found = torch.round(total / tau)
    return found if padding == "periodic" else found[..., :-1, :-1]


def defect_density(phase: Tensor, padding: Padding) -> Tensor:
    """Return the plaquettes with a winding number other than 0, per plaquette: [..., H, W] -> float64 [...]."""
    return winding(phase, padding).abs().mean((-2, -1))


def decay_exponent(density: Tensor, floor: float) -> Tensor:
    """Fit density ∝ t^(-p) by least squares on logarithms: float64 [T, B] at times 1 … T -> p, float64 [B].

    Densities under `floor`, of one defect in the grid, count as the floor.
    """
    time = torch.arange(1, len(density) + 1, dtype=torch.float64).log()
    logs = density.clamp_min(floor).log()
    time = time - time.mean()
    slope: Tensor = (time[:, None] * (logs - logs.mean(0))).sum(0) / time.square().sum()
    return -slope


def local_order(x: Tensor, padding: Padding) -> Tensor:
    """Return the mean over cells of |mean of ψ/|ψ| over 3 × 3 cells|: [..., 2, H, W] -> float64 [...], in [0, 1]."""
    x = x.double()
    x = x / x.square().sum(-3, keepdim=True).sqrt().clamp_min(TINY)
    ones = torch.ones_like(x[..., :1, :, :])
    total, cells = (y + sum_shifted(y, EDGES + CORNERS, padding) for y in (x, ones))
    return (total / cells).square().sum(-3).sqrt().mean((-2, -1))


def phase_wavelength(phase: Tensor, padding: Padding) -> Tensor:
    """Return 2π / median |∇θ| in cells over the cells that touch no defect: the wavelength between spiral cores.

    The gradient is the central difference, half the sum of the two wrapped differences. The median does not see the
    shocks where waves meet.

    Args:
        phase: radians, [..., H, W].
        padding: of the grid; "zero" leaves out the cells at the edge.

    Returns:
        float64 [...]; infinite for a uniform phase, NaN if defects touch every cell.
    """
    a = phase.double()
    slopes = [(wrapped(torch.roll(a, -1, axis) - a) + wrapped(a - torch.roll(a, 1, axis))) / 2 for axis in (-2, -1)]
    slope = torch.hypot(*slopes)
    core = winding(phase, "periodic").abs() > 0
    touched = core | torch.roll(core, 1, -1) | torch.roll(core, 1, -2) | torch.roll(core, (1, 1), (-2, -1))
    slope = slope.masked_fill(touched, torch.nan)
    if padding == "zero":
        slope = slope[..., 1:-1, 1:-1]
    median: Tensor = slope.flatten(-2).nanmedian(-1).values
    wavelength: Tensor = tau / median
    return wavelength


def frequency(phase: Tensor, interval: float) -> Tensor:
    """Return the mean angular frequency -dθ/dt of A ∝ e^(-iωt): phase [T, ..., H, W] -> float64 [...].

    Args:
        phase: radians at equal intervals, which must be shorter than half a period.
        interval: time between two frames.
    """
    return -wrapped(phase[1:].double() - phase[:-1].double()).mean((0, -2, -1)) / interval


def structure_wavelength(field: Tensor) -> Tensor:
    """Return 2π / k₁ in cells, k₁ = Σ k S(k) / Σ S(k): the first moment of the structure factor.

    S(k) = |FFT of the field without its mean|², with k in radians per cell.

    Returns:
        float64 [...]; NaN for a uniform field.
    """
    field = field.double()
    h, w = field.shape[-2:]
    power = torch.fft.fft2(field - field.mean((-2, -1), keepdim=True)).abs().square()
    ky, kx = torch.fft.fftfreq(h, dtype=torch.float64), torch.fft.fftfreq(w, dtype=torch.float64)
    k = tau * torch.hypot(ky[:, None].expand(h, w), kx[None].expand(h, w))
    total = power.sum((-2, -1))
    total = torch.where(total > TINY * h * w, total, torch.nan)
    return tau * total / (k * power).sum((-2, -1))


def peak_wavelength(field: Tensor) -> Tensor:
    """Return the wavelength in cells of the peak of the radially summed structure factor, as in `structure_wavelength`.

    Shells of k are one wave per longer side wide; the peak is the power-weighted mean of the strongest shell and its
    two neighbours, which resolves fractions of a shell.
    """
    field = field.double()
    h, w = field.shape[-2:]
    side = max(h, w)
    power = torch.fft.fft2(field - field.mean((-2, -1), keepdim=True)).abs().square().flatten(-2)
    ky = torch.fft.fftfreq(h, 1 / side, dtype=torch.float64)
    kx = torch.fft.fftfreq(w, 1 / side, dtype=torch.float64)
    k = torch.hypot(ky[:, None].expand(h, w), kx[None].expand(h, w)).flatten()
    shells = k.round().long()
    count = int(shells.max()) + 2
    energy = torch.zeros(*power.shape[:-1], count, dtype=torch.float64).index_add_(-1, shells, power)
    moment = torch.zeros_like(energy).index_add_(-1, shells, power * k)
    energy[..., 0] = moment[..., 0] = 0
    peak = energy.argmax(-1, keepdim=True).clamp_min(1)
    near = peak + torch.tensor([-1, 0, 1])
    weight = energy.gather(-1, near).sum(-1)
    weight = torch.where(weight > TINY * h * w, weight, torch.nan)
    return side * weight / moment.gather(-1, near).sum(-1)


def wall_density(field: Tensor, padding: Padding) -> Tensor:
    """Return the share of pairs of edge neighbours whose signs differ: [..., H, W] -> float64 [...]."""
    sign = field >= 0
    rows, columns = (sign ^ shifted(sign, *offset, "periodic") for offset in ((1, 0), (0, 1)))
    if padding == "zero":
        rows, columns = rows[..., :-1, :], columns[..., :-1]
    pairs = rows.shape[-2] * rows.shape[-1] + columns.shape[-2] * columns.shape[-1]
    return (rows.sum((-2, -1)) + columns.sum((-2, -1))).double() / pairs
