"""Random numbers of a step: a pure function of (seed, step, cell), so that they know neither slot nor batch-mates.

Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") in 64-bit integers, which every device
and the compiler have, and which give the same bits on all of them.
"""

from __future__ import annotations

import torch
from torch import Tensor

_M0, _M1 = 0xD2511F53, 0xCD9E8D57  # multipliers
_W0, _W1 = 0x9E3779B9, 0xBB67AE85  # what each round adds to the key
_ROUNDS = 10
_LOW = 0xFFFFFFFF
_STREAM = 1  # the start state draws from stream 0


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
    """Four random words of 32 bits from a counter of four and a key of two: int64 tensors of values below 2^32."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        p0, p1 = c0 * _M0, c2 * _M1  # wraps at 64 bits, as it must
        c0, c1, c2, c3 = _high(p1) ^ c1 ^ k0, p1 & _LOW, _high(p0) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0, c1, c2, c3


def uniform(seed: Tensor, clock: Tensor, grid: tuple[int, int]) -> Tensor:
    """float32 [B, 1, H, W] in [0, 1), for the step that leads from `clock` to `clock` + 1.

    seed, clock: int64 [B]. 24 bits each, as many as a float32 holds.
    """
    cell = torch.arange(grid[0] * grid[1], device=seed.device).view(1, 1, *grid)
    seed, clock = seed.view(-1, 1, 1, 1), clock.view(-1, 1, 1, 1)
    zero = torch.zeros_like(cell)
    counter = (cell + 0 * clock, zero + 0 * clock, (clock & _LOW) + zero, _high(clock) + zero)
    word = philox(counter, (seed & _LOW, _high(seed) ^ (_STREAM << 31)))[0]
    return (word >> 8).float() * 2.0**-24


def _high(x: Tensor) -> Tensor:
    """The upper 32 bits, as an unsigned number."""
    return (x >> 32) & _LOW
