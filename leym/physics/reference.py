"""Measures cells of one channel against a constant reference, without which nothing of them could be seen.

Alignments |<a, b>| / (|a| |b|) compare the directions of two cells in C^d and ignore their phases and sizes. With d = 1
all cells have the same direction. A second, constant channel of 1 makes it two: (ψ, 1). Its direction holds the phase
and the size of ψ, and two cells ψ_x, ψ_y with |ψ| = 1 and phases θ_x, θ_y have the alignment |cos((θ_x - θ_y) / 2)|.
"""

from __future__ import annotations

from math import sqrt
from typing import Literal

import torch
from torch import Tensor

from leym.physics.constraint import Box


def reference(d: int) -> float:
    """Return the power of the constant channel beside the d channels of a cell: 1 for d = 1, else 0 (no channel)."""
    return 1.0 if d == 1 else 0.0


def beside_reference(psi: Tensor, constraint: Literal["unit", "none"] | Box) -> Tensor:
    """Return cells as the fidelity suite measures them, which sees directions only.

    d = 1: ((1 + ψ) / √2, (1 - ψ) / √2), which is (ψ, 1) in another basis: all alignments are those of (ψ, 1), and the
    shares of the channels depend on the phase as well. d > 1 and no constraint "unit": (ψ, 1), so that the size of ψ
    counts. Otherwise ψ as it is. The constant adds to the spectrum at k = 0 only.

    Args:
        psi: complex64 [..., d].
        constraint: of the law.

    Returns:
        complex64 [..., d] or [..., d + 1].
    """
    one = torch.ones_like(psi[..., :1])
    if psi.shape[-1] == 1:
        return torch.cat([one + psi, one - psi], -1) / sqrt(2)
    return psi if constraint == "unit" else torch.cat([psi, one], -1)
