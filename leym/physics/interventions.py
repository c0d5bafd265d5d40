"""Interventions: a user's changes to the state of universes between two steps of the law.

    ψ' = C(I(ψ))  in the cells of a region,  ψ' = ψ  in the others          C: the constraint of the law

    vortex    I(ψ_c) = ψ_c exp(i n θ)         θ = atan2(y - y0, x - x0), n: charge
    wave      I(ψ_c) = ψ_c exp(i (ky y + kx x))
    noise     I(ψ_c) = ψ_c + s ξ_c            ξ_c = (a + i b) / √2,  a, b ~ N(0, 1),  s: strength
    collapse  I(ψ_c) = δ(c, k) ψ_k ‖ψ‖ / |ψ_k|
                       dominant: k = the channel of the largest |ψ_k|², the first of equal ones
                       drawn:    k = the first with |ψ_0|² + … + |ψ_k|² > u ‖ψ‖²,  u ~ U[0, 1)
    set       I(ψ_c) = v_c                    a vector, or the cell of another state at the same place
    paint     I(ψ_c) = v_c                    a vector, or δ(c, k) exp(i phase)

Vortex and wave turn the phase of all channels alike. `drawn` is a projective measurement in the basis of the channels
with Born's probabilities. A cell of zeros collapses to zeros. The memory of a recurrent law does not change.

Distances are in cells. On a periodic grid they are the shortest ones and rectangles wrap around; otherwise what lies
beyond an edge is cut off. A wave closes on a periodic grid where k is a multiple of 2π / side.

The bits of a universe depend on its state, its seed, the step and the number of the intervention, and not on the device
or on the other universes: angles and random numbers are float64 of the host, rounded once, and the rest are additions,
products, quotients and roots of float32 in a fixed order. Random numbers are numpy's Philox (J. K. Salmon et al.,
"Parallel random numbers: as easy as 1, 2, 3", SC '11) with the key (seed, stream) and the counter (number, step).

States are float32 [B, 2d, H, W]: real parts, then imaginary parts.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leym.physics.constraint import Box
from leym.physics.elementwise import per_number
from leym.physics.step import EPSILON

STREAM = 2  # of the key; `leym.physics.initial` draws from stream 0, `leym.physics.philox` has a key of its own

Grid = tuple[int, int]  # (H, W) in cells
Cells = NDArray[np.bool_]  # [H, W]


def disc(grid: Grid, y: float, x: float, radius: float, *, periodic: bool) -> Cells:
    """Return which cells have their centres within a radius of the point (y, x): bool [H, W]."""
    dy, dx = _offsets(grid, y, x, periodic)
    return np.asarray(dy**2 + dx**2 <= radius**2)


def rectangle(grid: Grid, y: int, x: int, height: int, width: int, *, periodic: bool) -> Cells:
    """Return which cells are in `height` rows from row y on and `width` columns from column x on: bool [H, W]."""
    rows, columns = _span(y, height, grid[0], periodic), _span(x, width, grid[1], periodic)
    return rows[:, None] & columns[None, :]


def changed(x: Tensor, to: Tensor, inside: Cells, constraint: Literal["unit", "none"] | Box) -> Tensor:
    """Replace the cells inside a region by C(φ); the others keep their bits.

    Args:
        x: states, float32 [B, 2d, H, W].
        to: φ, float32, of a shape that broadcasts to that of `x`.
        inside: the region, bool [H, W].
        constraint: C.

    Returns:
        float32 [B, 2d, H, W].
    """
    return torch.where(torch.from_numpy(inside).to(x.device), _constrained(constraint, to), x)


def vortex(x: Tensor, y0: float, x0: float, charge: int, *, periodic: bool) -> Tensor:
    """Return ψ_c exp(i n θ) with the angle θ of each cell at (y0, x0), from the direction of x to that of y.

    Args:
        x: states, float32 [B, 2d, H, W].
        y0: row of the centre.
        x0: column of the centre.
        charge: n.
        periodic: True if the grid wraps around.
    """
    dy, dx = (torch.from_numpy(offset) for offset in _offsets((x.shape[-2], x.shape[-1]), y0, x0, periodic))
    return _turned(x, charge * per_number(torch.atan2, *torch.broadcast_tensors(dy, dx)))


def wave(x: Tensor, ky: float, kx: float) -> Tensor:
    """Return ψ_c exp(i (ky y + kx x)); ky and kx in radians per cell."""
    rows, columns = np.arange(x.shape[-2])[:, None], np.arange(x.shape[-1])[None, :]
    return _turned(x, torch.from_numpy(ky * rows + kx * columns))


def noise(x: Tensor, strength: float, seeds: NDArray[np.int64], step: int, number: int) -> Tensor:
    """Return ψ_c + s ξ_c. The numbers of a cell do not depend on the region, since the whole grid is drawn.

    Args:
        x: states, float32 [B, 2d, H, W].
        strength: s.
        seeds: of the universes, int64 [B].
        step: step at which the state changes.
        number: position of the intervention among those of the same step.
    """
    drawn = np.empty(tuple(x.shape), np.float32)
    for row, seed in zip(drawn, seeds.tolist(), strict=True):
        row[...] = strength / np.sqrt(2) * _draws(seed, step, number).standard_normal(row.shape)
    return x + torch.from_numpy(drawn).to(x.device)


def collapse(x: Tensor) -> Tensor:
    """Return states whose cells keep their phase in the dominant channel, and their norm."""
    power = _power(x)
    chosen, best = torch.zeros_like(power[:, :1], dtype=torch.int64), power[:, :1]
    for channel in range(1, power.shape[1]):
        own = power[:, channel : channel + 1]
        chosen = torch.where(own > best, channel, chosen)
        best = torch.maximum(best, own)
    return _only(x, power, chosen)


def collapse_drawn(x: Tensor, seeds: NDArray[np.int64], step: int, number: int) -> Tensor:
    """Return states whose cells keep their phase in a channel drawn with p = |ψ_c|² / ‖ψ‖², and their norm.

    Arguments are those of `noise`.
    """
    grid = (1, *x.shape[-2:])
    words = np.stack([_draws(seed, step, number).integers(0, 2**24, grid) for seed in seeds.tolist()])
    u = torch.from_numpy((words * 2.0**-24).astype(np.float32)).to(x.device)  # below 1 in float32 too
    power = _power(x)
    sums = _running_sums(power)
    chosen = torch.stack([running <= u * sums[-1] for running in sums]).sum(dim=0)  # the sums increase
    last = (power > 0).long() * torch.arange(power.shape[1], device=x.device).view(1, -1, 1, 1)
    return _only(x, power, torch.minimum(chosen, last.amax(dim=1, keepdim=True)))  # u ‖ψ‖² may round to ‖ψ‖²


def filled(vector: NDArray[np.complex128], x: Tensor) -> Tensor:
    """Return a vector of d channels as a state of one cell: float32 [1, 2d, 1, 1] on the device of `x`."""
    parts = np.concatenate([vector.real, vector.imag]).astype(np.float32)
    return torch.from_numpy(parts).view(1, -1, 1, 1).to(x.device)


def one_channel(d_state: int, channel: int, phase: float) -> NDArray[np.complex128]:
    """Return the vector of norm 1 that has only one channel, with a phase in radians: complex128 [d]."""
    angle, vector = torch.tensor([phase], dtype=torch.float64), np.zeros(d_state, np.complex128)
    vector[channel] = complex(*(float(per_number(function, angle)) for function in (torch.cos, torch.sin)))
    return vector


def _span(first: int, length: int, side: int, periodic: bool) -> Cells:
    after = np.arange(side) - first
    return np.asarray((after % side if periodic else np.where(after < 0, side, after)) < length)


def _offsets(grid: Grid, y: float, x: float, periodic: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the way from a point to each cell, in cells: float64 [H, 1] and [1, W]."""
    dy = np.arange(grid[0], dtype=np.float64)[:, None] - y
    dx = np.arange(grid[1], dtype=np.float64)[None, :] - x
    if periodic:
        dy -= grid[0] * np.round(dy / grid[0])
        dx -= grid[1] * np.round(dx / grid[1])
    return dy, dx


def _draws(seed: int, step: int, number: int) -> np.random.Generator:
    key, counter = np.array([seed, STREAM], np.uint64), np.array([0, 0, number, step], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def _turned(x: Tensor, angle: Tensor) -> Tensor:
    """Multiply all channels by exp(i angle), float64 [H, W]."""
    cos, sin = (per_number(function, angle).float().to(x.device) for function in (torch.cos, torch.sin))
    re, im = x.chunk(2, dim=1)
    return torch.cat([cos * re - sin * im, sin * re + cos * im], dim=1)


def _power(x: Tensor) -> Tensor:
    """Return |ψ_c|²: float32 [B, d, H, W]."""
    re, im = x.chunk(2, dim=1)
    return re * re + im * im


def _only(x: Tensor, power: Tensor, chosen: Tensor) -> Tensor:
    """Leave each cell the channel `chosen`, int64 [B, 1, H, W], with its phase and the norm of the cell."""
    kept = torch.arange(power.shape[1], device=x.device).view(1, -1, 1, 1) == chosen
    size, norm = torch.sqrt(power), torch.sqrt(_running_sums(power)[-1])
    return x * torch.where(kept & (size > 0), norm / size, 0.0).repeat(1, 2, 1, 1)


def _running_sums(values: Tensor) -> list[Tensor]:
    """Add up channels one after the other, since the bits of a reduction would depend on the device."""
    sums = [values[:, :1]]
    for channel in range(1, values.shape[1]):
        sums.append(sums[-1] + values[:, channel : channel + 1])
    return sums


def _constrained(constraint: Literal["unit", "none"] | Box, phi: Tensor) -> Tensor:
    """Return C(φ) as `leym.physics.step.constrain` does, with a sum in a fixed order."""
    if isinstance(constraint, Box):
        return phi.clamp(*constraint.box)
    if constraint == "none":
        return phi
    return phi / (torch.sqrt(_running_sums(phi * phi)[-1]) + EPSILON)
