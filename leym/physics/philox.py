"""Random numbers of a step: a pure function of (seed, step, cell), independent of slot and batch-mates.

The generator is Philox4x32-10 of J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy
as 1, 2, 3", SC '11 (2011), doi 10.1145/2063384.2063405. It is written in 64-bit integers, which every device and the
compiler support, and which give the same bits on all of them.
"""

from __future__ import annotations

import torch
from torch import Tensor

_M0, _M1 = 0xD2511F53, 0xCD9E8D57  # multipliers of the paper
_W0, _W1 = 0x9E3779B9, 0xBB67AE85  # Weyl constants, added to the key in each round
_ROUNDS = 10
_LOW = 0xFFFFFFFF  # mask of the lower 32 bits
_STREAM = 1  # `leym.physics.initial` draws start states from stream 0


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
    """Return four random 32-bit words for a counter of four words and a key of two.

    All words are int64 tensors of values below 2^32, of shapes that broadcast.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        p0, p1 = c0 * _M0, c2 * _M1  # wraps modulo 2^64, as intended
        c0, c1, c2, c3 = _high(p1) ^ c1 ^ k0, p1 & _LOW, _high(p0) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0, c1, c2, c3


def uniform(seed: Tensor, clock: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return uniform numbers in [0, 1) for the step from `clock` to `clock` + 1: float32 [B, 1, H, W].

    Each has 24 random bits, the precision of a float32.

    Args:
        seed: of each universe, int64 [B].
        clock: step of each universe, int64 [B].
        grid: (H, W) in cells.
    """
    cell = torch.arange(grid[0] * grid[1], device=seed.device).view(1, 1, *grid)
    seed, clock = seed.view(-1, 1, 1, 1), clock.view(-1, 1, 1, 1)
    zero = torch.zeros_like(cell)
    counter = (cell + 0 * clock, zero + 0 * clock, (clock & _LOW) + zero, _high(clock) + zero)
    word = philox(counter, (seed & _LOW, _high(seed) ^ (_STREAM << 31)))[0]
    return (word >> 8).float() * 2.0**-24


def _high(x: Tensor) -> Tensor:
    """Return the upper 32 bits as an unsigned number."""
    return (x >> 32) & _LOW
