"""Fields (a number per cell) and observables (a number per step) of universes.

`leym.contract.catalog` lists the same names with units and formulas for the API; the definitions here carry them in
their docstrings. Every function works on any number of universes at a time, in the leading dimensions `...`.

Notation: ψ_c is channel c of a cell, d the number of channels, <a, b> = Σ_c conj(a_c) b_c, |a| = sqrt(<a, a>). All
quantities are dimensionless unless a unit is given.

With d = 1 a cell has one direction only, and what moves is its phase. <a, b> then counts a second, constant channel of
1 (see `reference`): <a, b> = conj(a) b + 1 and |a|² = |a_0|² + 1.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from math import log

import torch
from torch import Tensor

from leym.physics.elementwise import per_number
from leym.physics.measures import (
    correlation_length,
    domain_walls,
    multiscale_complexity,
    peak_wavenumber,
    per_universe,
    structure_factor,
    windings,
)
from leym.physics.reference import reference

TINY = 1e-12


class StateView:
    """Computes fields and observables of the states of some universes at one step, each field at most once.

    Results are new memory, never views of the states.

    Args:
        x: the states, float32 [..., 2d, H, W], laid out as in `leym.physics.step`.
        previous: the states one step earlier, same shape; None at step 0.
        origin: the states at step 0, same shape.
    """

    def __init__(self, x: Tensor, previous: Tensor | None, origin: Tensor):
        # planes of cells: an operation reads them several times, and channels last would make its inner loops short
        self.x, self.previous, self.origin = x.contiguous(), previous, origin
        self._fields: dict[str, Tensor] = {}

    def field(self, name: str) -> Tensor:
        """Return a field: float32 [..., H, W], or [..., H, W, d] per channel; `psi` is complex64 [..., H, W, d].

        `rgb` is float32 [..., H, W, 3].
        """
        if name not in self._fields:
            self._fields[name] = FIELDS[name](self)
        return self._fields[name]

    def observable(self, name: str) -> Tensor:
        """Return an observable: float32 [...].

        `overlap` is the mean over cells of |<ψ_0, ψ_t>|² / (|ψ_0|² |ψ_t|²). Those of `MEASURES` are defined in
        `leym.physics.measures`. Any other observable is the spatial mean of the field of that name, or with the suffix
        `_sd` its spatial standard deviation.
        """
        if name in ("overlap", "fidelity"):  # its old name, which jobs may still ask for
            return per_universe(torch.mean, alignment(self.origin.contiguous(), self.x).square())
        if name in MEASURES:
            return MEASURES[name](self)
        if name.endswith("_sd"):
            return per_universe(partial(torch.std, correction=0), self.field(name.removesuffix("_sd")))
        return per_universe(torch.mean, self.field(name))

    @cached_property
    def structure(self) -> Tensor:
        """The power of each wave vector: float32 [..., H, W] (`leym.physics.measures.structure_factor`)."""
        return structure_factor(self.x)


def power(x: Tensor) -> Tensor:
    """Return |ψ_c|²: float32 [..., 2d, H, W] -> [..., d, H, W]."""
    re, im = x.chunk(2, -3)
    return re.square() + im.square()


def alignment(a: Tensor, b: Tensor) -> Tensor:
    """Return |<a, b>| / (|a| |b|) per cell, in [0, 1]: float32 [..., 2d, H, W] each -> [..., H, W].

    1 for two empty cells (|a|² < 1e-12), which are equal; 0 for an empty cell and another.
    """
    (ar, ai), (br, bi) = a.chunk(2, -3), b.chunk(2, -3)
    re, im = (ar * br + ai * bi).sum(-3), (ar * bi - ai * br).sum(-3)
    in_a, in_b = a.square().sum(-3), b.square().sum(-3)
    if constant := reference(ar.shape[-3]):
        re, in_a, in_b = re + constant, in_a + constant, in_b + constant
    inner = (re.square() + im.square()).sqrt()
    found = (inner / (in_a * in_b).sqrt().clamp_min(TINY)).clamp(max=1.0)
    return torch.where((in_a < TINY) & (in_b < TINY), 1.0, found)


def state_hash(x: Tensor) -> Tensor:
    """Return a hash of the bits of each state: float32 [..., 2d, H, W] -> int64 [...].

    The sum over all numbers of their bits times odd constants, modulo 2^64: the same in any order and on any device.
    """
    bits = x.contiguous().view(torch.int32).flatten(-3).long()
    odd = 2 * torch.arange(bits.shape[-1], device=x.device) + 1
    return (bits * (odd * -7046029254386353131)).sum(-1)


def psi(state: StateView) -> Tensor:
    """Return the state ψ itself: complex64 [..., H, W, d]."""
    re, im = state.x.movedim(-3, -1).chunk(2, dim=-1)
    return torch.complex(re.contiguous(), im.contiguous())


def phase(state: StateView) -> Tensor:
    """Return the circular mean of the phases over the channels: float32 [..., H, W], radians in [-π, π].

    atan2(mean_c sin arg ψ_c, mean_c cos arg ψ_c); every channel counts the same, whatever its power. 0 if all are 0.
    """
    re, im = state.x.chunk(2, -3)
    per_size = re.square().add_(im.square()).sqrt_().clamp_min_(TINY).reciprocal_()
    return per_number(torch.atan2, (im * per_size).mean(-3), (re * per_size).mean(-3))


def channel_power(state: StateView) -> Tensor:
    """Return the share of each channel in the density, p_c = |ψ_c|² / Σ_k |ψ_k|²: float32 [..., H, W, d] in [0, 1].

    All shares of an empty cell are 0.
    """
    p = power(state.x)
    return (p / p.sum(-3, keepdim=True).clamp_min(TINY)).movedim(-3, -1).contiguous()


def channel_entropy(state: StateView) -> Tensor:
    """Return the Shannon entropy of the channel shares, S = -Σ_c p_c log p_c / log d: float32 [..., H, W] in [0, 1].

    0 if one channel holds everything (also for d = 1) or the cell is empty, 1 if all channels are equal.
    """
    p = state.field("channel_power")
    d = p.shape[-1]
    return -per_number(torch.special.xlogy, p, p).sum(-1) / log(d) if d > 1 else torch.zeros_like(p[..., 0])


def coherence(state: StateView) -> Tensor:
    """Return how well each cell aligns with its neighbours: float32 [..., H, W] in [0, 1].

    The mean of |<ψ_x, ψ_y>| / (|ψ_x| |ψ_y|) over the 4-neighbours y of cell x inside the grid (two in a corner, three
    at an edge; the grid does not wrap here, whatever the law does).
    """
    x = state.x
    below, right = alignment(x[..., :-1, :], x[..., 1:, :]), alignment(x[..., :-1], x[..., 1:])
    total, neighbours = torch.zeros_like(x[..., 0, :, :]), torch.zeros_like(x[..., 0, :, :])
    for pairs, here, there in (
        (below, (..., slice(None, -1), slice(None)), (..., slice(1, None), slice(None))),
        (right, (..., slice(None), slice(None, -1)), (..., slice(None), slice(1, None))),
    ):
        for side in (here, there):
            total[side] += pairs
            neighbours[side] += 1
    return total / neighbours


def activity(state: StateView) -> Tensor:
    """Return the change of each cell in the last step: float32 [..., H, W] in [0, 1].

    1 - |<ψ_(t-1), ψ_t>| / (|ψ_(t-1)| |ψ_t|); 0 at step 0. With d > 1, a global phase is no change.
    """
    if state.previous is None:
        return torch.zeros_like(state.x[..., 0, :, :])
    return 1 - alignment(state.previous.contiguous(), state.x)


def flow(state: StateView) -> Tensor:
    """Return the length of the last update, sqrt(Σ_c |ψ_c(t) - ψ_c(t-1)|²): float32 [..., H, W]; 0 at step 0.

    Unlike `activity` it counts a turn of all phases, and a change of size.
    """
    if state.previous is None:
        return torch.zeros_like(state.x[..., 0, :, :])
    return (state.x - state.previous.contiguous()).square().sum(-3).sqrt()


def density(state: StateView) -> Tensor:
    """Return the density Σ_c |ψ_c|²: float32 [..., H, W]; 1 after the first step of a law that normalises each cell."""
    return power(state.x).sum(-3)


def rgb(state: StateView) -> Tensor:
    """Return the first four real channels as a colour over white: float32 [..., H, W, 3], not clipped.

    1 - min(max(x_3, 0), 1) + (x_0, x_1, x_2): red, green and blue are already multiplied by the opacity x_3, as in
    Mordvintsev et al., "Growing neural cellular automata", Distill (2020). With d = 1, x_2 and x_3 count as 0 and 1.
    """
    x = state.x
    if x.shape[-3] < 4:
        one = torch.ones_like(x[..., :1, :, :])
        x = torch.cat([x, 0 * one, one], -3)
    colour = 1 - x[..., 3:4, :, :].clamp(0, 1) + x[..., :3, :, :]
    return colour.movedim(-3, -1).contiguous()


FIELDS: dict[str, Callable[[StateView], Tensor]] = {
    "psi": psi,
    "phase": phase,
    "channel_power": channel_power,
    "channel_entropy": channel_entropy,
    "coherence": coherence,
    "activity": activity,
    "flow": flow,
    "density": density,
    "rgb": rgb,
}

MEASURES: dict[str, Callable[[StateView], Tensor]] = {
    "correlation_length": lambda state: correlation_length(state.structure),
    "peak_wavenumber": lambda state: peak_wavenumber(state.structure),
    "multiscale_complexity": lambda state: multiscale_complexity(state.x),
    "domain_walls": lambda state: domain_walls(state.x),
    "vortices": lambda state: windings(state.field("phase"), 1),
    "antivortices": lambda state: windings(state.field("phase"), -1),
}
