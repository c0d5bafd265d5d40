"""Fields (a number per cell) and observables (a number per step) of a state.

Formulas and units are in `leym.contract.catalog`.

Any number of universes at a time, in the leading dimensions: `...` below.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log

import torch
from torch import Tensor

TINY = 1e-12


class Frame:
    """Universes at one step each. x, previous (the state one step before), origin (step 0): float32 [..., 2d, H, W].

    What it computes is new memory, never a view of these.
    """

    def __init__(self, x: Tensor, previous: Tensor | None, origin: Tensor):
        self.x, self.previous, self.origin = x, previous, origin
        self._fields: dict[str, Tensor] = {}

    def field(self, name: str) -> Tensor:
        """float32 [..., H, W], or [..., H, W, d] per channel; `psi` complex64 [..., H, W, d]."""
        if name not in self._fields:
            self._fields[name] = FIELDS[name](self)
        return self._fields[name]

    def observable(self, name: str) -> Tensor:
        """float32 [...]."""
        if name in ("overlap", "fidelity"):  # its old name, which jobs may still ask for
            return alignment(self.origin, self.x).square().mean((-2, -1))
        if name.endswith("_sd"):
            return self.field(name.removesuffix("_sd")).std((-2, -1), correction=0)
        return self.field(name).mean((-2, -1))


def power(x: Tensor) -> Tensor:
    """|psi_c|^2, [..., d, H, W]."""
    re, im = x.chunk(2, -3)
    return re.square() + im.square()


def alignment(a: Tensor, b: Tensor) -> Tensor:
    """|<a, b>| / (|a| |b|) per cell, [..., H, W], in [0, 1]."""
    (ar, ai), (br, bi) = a.chunk(2, -3), b.chunk(2, -3)
    inner = torch.hypot((ar * br + ai * bi).sum(-3), (ar * bi - ai * br).sum(-3))
    return (inner / (a.square().sum(-3) * b.square().sum(-3)).sqrt().clamp_min(TINY)).clamp(max=1.0)


def psi(frame: Frame) -> Tensor:
    re, im = frame.x.movedim(-3, -1).chunk(2, dim=-1)
    return torch.complex(re.contiguous(), im.contiguous())


def phase(frame: Frame) -> Tensor:
    re, im = frame.x.chunk(2, -3)
    size = torch.hypot(re, im).clamp_min(TINY)
    return torch.atan2((im / size).mean(-3), (re / size).mean(-3))


def channel_power(frame: Frame) -> Tensor:
    p = power(frame.x)
    return (p / p.sum(-3, keepdim=True).clamp_min(TINY)).movedim(-3, -1).contiguous()


def channel_entropy(frame: Frame) -> Tensor:
    p = frame.field("channel_power")
    d = p.shape[-1]
    return -torch.special.xlogy(p, p).sum(-1) / log(d) if d > 1 else torch.zeros_like(p[..., 0])


def coherence(frame: Frame) -> Tensor:
    x = frame.x
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


def activity(frame: Frame) -> Tensor:
    if frame.previous is None:
        return torch.zeros_like(frame.x[..., 0, :, :])
    return 1 - alignment(frame.previous, frame.x)


def density(frame: Frame) -> Tensor:
    return power(frame.x).sum(-3)


FIELDS: dict[str, Callable[[Frame], Tensor]] = {
    "psi": psi,
    "phase": phase,
    "channel_power": channel_power,
    "channel_entropy": channel_entropy,
    "coherence": coherence,
    "activity": activity,
    "density": density,
}
