"""Start states of objectives that have no model of their own: the start states of jobs."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from leym.physics.initial import complex_noise, haar_random
from leym.physics.step import to_real


def draw_starts(kind: str, n: int, d: int, grid: tuple[int, int], seed: int, strength: float) -> Tensor:
    """Draw n start states, float32 [n, 2d, H, W].

    Args:
        kind: "random": random unit vectors; "noise": phases of standard deviation `strength`.
        n: universes; each has a seed of its own, derived from `seed`.
        d: channels.
        grid: H and W in cells.
        seed: of all.
        strength: in radians, for "noise".
    """
    seeds = [int(one) for one in np.random.SeedSequence(seed).generate_state(n, np.uint64) >> np.uint64(1)]
    shape = (*grid, d)
    drawn = [haar_random(shape, one) if kind == "random" else complex_noise(shape, one, strength) for one in seeds]
    return to_real(torch.from_numpy(np.stack(drawn)))
