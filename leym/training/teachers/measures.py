"""Physical measures that several teachers share. Phases and fields are float [..., H, W]; results are float64 [...].

Grids are tori here unless a function says otherwise; `padding` "zero" leaves out pairs of cells across the edge.
"""

from __future__ import annotations

from math import pi, tau

import torch
from torch import Tensor

from leym.training.teachers.base import Padding
from leym.training.teachers.lattice import neighbours

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
    """Fit density ∝ t^(-p) by least squares on logarithms, without the first eighth: [T, B] -> p, float64 [B].

    Args:
        density: of frames at times 0, 1, 2, …
        floor: smaller densities count as this one, for example as one defect in the grid.

    Returns:
        float64 [B]; NaN for fewer than 3 frames.
    """
    first = max(1, len(density) // 8)
    time = torch.arange(first, len(density), dtype=torch.float64, device=density.device).log()
    logs = density[first:].double().clamp_min(floor).log()
    time = time - time.mean()
    return -(time[:, None] * logs).sum(0) / time.square().sum()


def local_order(x: Tensor, padding: Padding) -> Tensor:
    """Return the mean over cells of |mean of ψ/|ψ| over 3 × 3 cells|: [..., 2, H, W] -> float64 [...], in [0, 1]."""
    x = x.double()
    x = x / x.square().sum(-3, keepdim=True).sqrt().clamp_min(TINY)
    ones = torch.ones_like(x[..., :1, :, :])
    total, cells = (y + neighbours(y, padding, corner=1.0) for y in (x, ones))
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
    return tau / median


def frequency(phase: Tensor, interval: float) -> Tensor:
    """Return the mean angular frequency -dθ/dt of A ∝ e^(-iωt): phase [T, ..., H, W] -> float64 [...].

    Args:
        phase: radians at equal intervals, which must be shorter than half a period.
        interval: time between two frames.
    """
    return -wrapped(phase[1:].double() - phase[:-1].double()).mean((0, -2, -1)) / interval


def wavenumbers(field: Tensor) -> Tensor:
    """Return |k| of every cell of a field's FFT, in radians per cell: float64 [H, W]."""
    ky, kx = (torch.fft.fftfreq(side, dtype=torch.float64, device=field.device) for side in field.shape[-2:])
    return torch.hypot(ky[:, None].expand(field.shape[-2:]), kx[None].expand(field.shape[-2:])) * tau


def structure_factor(field: Tensor) -> Tensor:
    """Return |FFT of the field without its mean|² over the cells, NaN where the field is uniform: [..., H, W]."""
    field = field.double()
    power = torch.fft.fft2(field - field.mean((-2, -1), keepdim=True)).abs().square() / field.shape[-2:].numel()
    return torch.where(power.sum((-2, -1), keepdim=True) > TINY, power, torch.nan)


def structure_wavelength(field: Tensor) -> Tensor:
    """Return 2π / k₁ in cells, k₁ = Σ k S(k) / Σ S(k): the first moment of the structure factor.

    Returns:
        float64 [...]; NaN for a uniform field.
    """
    power = structure_factor(field)
    moment = (wavenumbers(field) * power).sum((-2, -1))
    return power.sum((-2, -1)).mul(tau) / moment


def peak_wavelength(field: Tensor) -> Tensor:
    """Return the wavelength in cells of the peak of the radially summed structure factor.

    Shells of k are one wave per longer side wide. The peak is the power-weighted mean wavenumber of the strongest shell
    and its two neighbours, which resolves fractions of a shell.

    Returns:
        float64 [...]; NaN for a uniform field.
    """
    power, k = structure_factor(field).flatten(-2), wavenumbers(field).flatten()
    shells = (k * (max(field.shape[-2:]) / tau)).round().long()
    energy = power.new_zeros(*power.shape[:-1], int(shells.max()) + 2)
    moment = energy.clone().index_add_(-1, shells, power * k)
    energy.index_add_(-1, shells, power)
    peak = energy[..., :-1].argmax(-1, keepdim=True).clamp_min(1)
    near = peak + torch.tensor([-1, 0, 1], device=field.device)
    return energy.gather(-1, near).sum(-1).mul(tau) / moment.gather(-1, near).sum(-1)


def dominant_period(signal: Tensor, interval: float) -> Tensor:
    """Return the period of the strongest oscillation of the cells: [T, B, H, W] -> float64 [B].

    The power spectra of all cells' signals, without their means and under a Hann window, are summed; the frequency is
    the power-weighted mean of the peak and its two neighbours.

    Args:
        signal: at equal intervals; T should span several periods.
        interval: time between two frames, in the unit of the result.

    Returns:
        float64 [B]; NaN where nothing changes or frames are fewer than 6.
    """
    frames = len(signal)
    if frames < 6:
        return signal.new_full(signal.shape[1:2], torch.nan, dtype=torch.float64)
    window = torch.hann_window(frames, periodic=True, dtype=torch.float64, device=signal.device)[:, None, None, None]
    moving = (signal.double() - signal.double().mean(0)) * window
    power = torch.fft.rfft(moving, dim=0).abs().square().mean((-2, -1)).T  # [B, F]
    peak = power[:, 1:-1].argmax(-1, keepdim=True) + 1
    near = peak + torch.tensor([-1, 0, 1], device=signal.device)
    share = power.gather(-1, near)
    total = torch.where(share.sum(-1) > TINY, share.sum(-1), torch.nan)
    period: Tensor = total.mul(frames * interval) / (share * near).sum(-1)
    return period


def front_speed(field: Tensor, interval: float, padding: Padding) -> Tensor:
    """Return Σ |∂u/∂t| / Σ |∇u| in cells per time, which is c of a travelling front u(x - ct): [T, B, H, W] -> [B].

    Args:
        field: at intervals in which a front moves less than its own width.
        interval: time between two frames.
        padding: of the grid; "zero" leaves out the cells at the edge.
    """
    field = field.double()
    slope = torch.hypot(*((torch.roll(field, -1, axis) - torch.roll(field, 1, axis)) / 2 for axis in (-2, -1)))
    change = (field[1:] - field[:-1]).abs()
    if padding == "zero":
        slope, change = slope[..., 1:-1, 1:-1], change[..., 1:-1, 1:-1]
    total = (slope[1:] + slope[:-1]).sum((0, -2, -1)) / 2
    return change.sum((0, -2, -1)) / interval / torch.where(total > TINY, total, torch.nan)


def wall_density(field: Tensor, padding: Padding) -> Tensor:
    """Return the share of pairs of edge neighbours whose signs differ: [..., H, W] -> float64 [...]."""
    sign = field >= 0
    rows, columns = (sign ^ torch.roll(sign, -1, axis) for axis in (-2, -1))
    if padding == "zero":
        rows, columns = rows[..., :-1, :], columns[..., :-1]
    pairs = rows.shape[-2] * rows.shape[-1] + columns.shape[-2] * columns.shape[-1]
    return (rows.sum((-2, -1)) + columns.sum((-2, -1))).double() / pairs


def domain_length(walls: Tensor) -> Tensor:
    """Return 1 / the density of walls, in cells; NaN where there are none."""
    return torch.where(walls > 0, walls, torch.nan).reciprocal()
